"""Where a benchmark keeps what it has measured: one SQLite file, to which images are added.

Each chunk of images is one transaction: a process that is killed, or a full disk, loses the chunk at
work at most. Each record has a checksum, so that one that was changed is refused and not reported.
Results that were begun by the version before have none, and go on without.
"""

import contextlib
import io
import json
import os.path
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.sameness import check_same
from rap_keras.errors import InputError
from rap_keras.support.text import reason

FILE = "results.sqlite"
_VERSION, _BEFORE = 2, 1  # that before has no checksums
_SCHEMA = f"""
    CREATE TABLE protocol (content TEXT NOT NULL, checksum INTEGER NOT NULL);
    CREATE TABLE images (
        position INTEGER PRIMARY KEY, status TEXT NOT NULL, content TEXT NOT NULL,
        checksum INTEGER NOT NULL);
    CREATE TABLE maps (
        position INTEGER NOT NULL, title TEXT NOT NULL, content BLOB NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (position, title));
    PRAGMA user_version = {_VERSION};
"""
# SQLite's primary codes that tell of the disk, permissions and other processes, not of the file.
_AROUND = {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL),
}

Maps = Mapping[str, NDArray[Any]]


class Store:
    """The results in a folder.

    Args:
        folder: Holds `results.sqlite`, or will.
        protocol: What is measured and how; a folder that holds results of another protocol is refused.
            None opens what is there.

    Raises:
        InputError: The folder holds results of another protocol, or none though none are to be begun, or
            cannot be read or written, or what it holds was changed.

    Attributes:
        protocol: What is measured and how.
        checked: Whether records have checksums, so that they are as they were written.
        created: Whether the file is new.
    """

    def __init__(self, folder: Path, protocol: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        path = folder / FILE
        if not os.path.isfile(path) and (protocol is None or os.path.exists(path)):
            raise InputError(f"There are no results in {str(folder)!r} (no file {FILE}).")
        if os.path.islink(path) and not os.path.exists(path):
            raise InputError(f"Expected {str(path)!r} to be a file, got a broken link: remove it.")
        with self._telling():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            try:
                self._open(protocol)
            except BaseException:
                self._database.close()
                raise
            self._opened = os.stat(path)

    def _open(self, protocol: Mapping[str, Any] | None) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        self.created = version == 0
        if version == 0 and protocol is not None:
            # In one transaction, so that a file without a protocol never stays behind.
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self.checked = True
            self._insert("protocol", json.dumps(protocol))
            self._database.execute("COMMIT")
        elif version not in (_VERSION, _BEFORE):
            raise InputError(
                f"Expected results of this version of rap_keras in {str(self.folder / FILE)!r}, got "
                f"those of version {version}; choose another folder."
            )
        columns = self._database.execute("PRAGMA table_info(images)").fetchall()
        self.checked = "checksum" in {name for _, name, *_ in columns}
        (found,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok" or self.checked != (version != _BEFORE):
            raise self.damaged("its tables are broken")
        rows = self._select("content", "protocol", "the protocol")
        if len(rows) != 1:
            raise self.damaged("it has no protocol, or several")
        self.protocol = self._parsed(rows[0][0], "the protocol")
        if protocol is not None:
            check_same(self.protocol, protocol, str(self.folder))
            # Before hours of measuring, and not after them.
            self.images()
            for _ in self.maps().values():
                pass

    def has_kept(self) -> bool:
        """Whether an image was measured: neither skipped nor misclassified."""
        return bool(self._positions("images WHERE status = 'kept'"))

    def discard(self) -> None:
        """Removes the file, and the folder if it is then empty."""
        self.close()
        with self._telling():
            (self.folder / FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def add(self, chunk: Sequence[tuple[Mapping[str, Any], Maps]]) -> None:
        """Adds the images of a chunk, all of them or none.

        A chunk that is there already is left as it is; where one of its images was skipped, the whole is
        replaced, for images of a chunk are measured together.

        Args:
            chunk: Of each image what was measured, as JSON knows it ("position" and "status" are among
                it), and the pixels and heat maps to keep for figures.

        Raises:
            InputError: The file cannot be written to; what it held before is still there. Or another
                process has replaced it.
        """
        contents = {record["position"]: json.dumps(record) for record, _ in chunk}
        self._refuse_replaced()
        with self._telling(), self._transaction():
            held = self._database.execute(
                "SELECT position, status, content FROM images WHERE position BETWEEN ? AND ?",
                (min(contents), max(contents)),
            ).fetchall()
            done = {position for position, status, _ in held if status != "skipped"}
            same = {position: content for position, _, content in held}
            if done.issuperset(contents) or same.items() >= contents.items():
                return
            for record, maps in chunk:
                position = record["position"]
                for table in ("images", "maps"):
                    self._database.execute(f"DELETE FROM {table} WHERE position = ?", (position,))
                self._insert("images", position, record["status"], contents[position])
                self._insert_maps(position, maps)

    def _refuse_replaced(self) -> None:
        """Refuses to write to a file that is no longer in the folder, where nobody would find it."""
        path = self.folder / FILE
        if not os.path.exists(path) or not os.path.samestat(self._opened, os.stat(path)):
            raise InputError(
                f"Expected {str(path)!r} to be the file that this run opened, but another process has "
                "removed or replaced it: run one benchmark at a time in a folder."
            )

    def add_maps(self, position: int, maps: Maps) -> None:
        """Adds the pixels and heat maps of an image that is there without them.

        Raises:
            InputError: The file cannot be written to.
        """
        with self._telling(), self._transaction():
            self._insert_maps(position, maps)

    def _insert_maps(self, position: int, maps: Maps) -> None:
        for title, array in maps.items():
            self._insert("maps", position, title, _pack(array))

    def _insert(self, table: str, *values: Any) -> None:
        """Adds a row with its checksum."""
        row = (*values, _checksum(values)) if self.checked else values
        marks = ", ".join("?" * len(row))
        self._database.execute(f"INSERT INTO {table} VALUES ({marks})", row)

    def _select(
        self, columns: str, rows: str, what: str, parameters: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows as they were written; `what` is formatted with those that were not."""
        checksum = ", checksum" if self.checked else ""
        query = f"SELECT {columns}{checksum} FROM {rows}"
        found = self._database.execute(query, parameters).fetchall()
        if not self.checked:
            return found
        for *values, checksum in found:
            if _checksum(values) != checksum:
                raise self.damaged(f"{what.format(*values)} was changed")
        return [tuple(values) for *values, _ in found]

    def _parsed(self, content: str, what: str) -> dict[str, Any]:
        """What a record says."""
        try:
            parsed = json.loads(content)
        except (TypeError, ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise self.damaged(f"{what} cannot be read")
        return parsed

    def damaged(self, reason: str) -> InputError:
        """The error of results that are not as they were written."""
        return InputError(
            f"The results in {str(self.folder / FILE)!r} are damaged ({reason}); put a copy of the file "
            "in its place, or remove it and run the same command again."
        )

    def positions(self) -> set[int]:
        """The images that are there, by their places in the data set."""
        return self._positions("images")

    def finished(self) -> set[int]:
        """The images that need not be measured again; those that were skipped may be mended."""
        return self._positions("images WHERE status != 'skipped'")

    def positions_of_maps(self) -> set[int]:
        """The images whose maps are there."""
        return self._positions("maps")

    def _positions(self, where: str) -> set[int]:
        with self._telling():
            rows = self._database.execute(f"SELECT DISTINCT position FROM {where}").fetchall()
        return {position for (position,) in rows}

    def images(self) -> list[dict[str, Any]]:
        """The record of each image, by their order in the data set."""
        what = "the record of image {0}"
        with self._telling():
            rows = self._select("position, status, content", "images ORDER BY position", what)
        records = []
        for position, status, content in rows:
            record = self._parsed(content, what.format(position))
            if (record.get("position"), record.get("status")) != (position, status):
                raise self.damaged(f"{what.format(position)} is another's")
            records.append(record)
        return records

    def maps(self, count: int | None = None) -> "Mapping[int, Maps]":
        """Pixels and heat maps of the images that have some, or of the first `count` of them.

        They are read when they are asked for.
        """
        return _StoredMaps(self, sorted(self.positions_of_maps())[:count])

    def maps_of(self, position: int) -> dict[str, NDArray[Any]]:
        """Pixels and heat maps of an image, by their titles.

        Raises:
            InputError: One of them was changed, or the file cannot be read.
        """
        what = "a map of image {0}"
        chosen = "maps WHERE position = ? ORDER BY rowid"
        with self._telling():
            rows = self._select("position, title, content", chosen, what, [position])
        maps = {}
        for _, title, content in rows:
            try:
                maps[title] = np.load(io.BytesIO(content), allow_pickle=False)
            except Exception as error:  # NumPy's readers raise nearly anything
                raise self.damaged(f"{what.format(position)} cannot be read") from error
        return maps

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of what is written inside, or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself where the disk is full.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Says in one sentence why the file cannot be used."""
        try:
            yield
        except (OSError, sqlite3.Error, UnicodeError) as error:
            code = getattr(error, "sqlite_errorcode", -1) & 0xFF
            if not isinstance(error, OSError) and code not in _AROUND:
                raise self.damaged(reason(error)) from error
            raise InputError(
                f"The results in {str(self.folder / FILE)!r} cannot be read or written "
                f"({reason(error)}); what was added before is kept: mend this and run the same command "
                "again."
            ) from error


class _StoredMaps(Mapping[int, Maps]):
    """What `Store.maps` gives."""

    def __init__(self, store: Store, positions: Sequence[int]) -> None:
        self._store = store
        self._positions = dict.fromkeys(positions)

    def __getitem__(self, position: int) -> Maps:
        if position not in self._positions:
            raise KeyError(position)
        return self._store.maps_of(position)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


def _checksum(values: Sequence[Any]) -> int:
    """The CRC-32 of a row."""
    parts = (value if isinstance(value, bytes) else str(value).encode() for value in values)
    return zlib.crc32(b"\0".join(parts))


def _pack(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
