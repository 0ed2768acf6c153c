"""The results of a benchmark on disk: one SQLite file, to which images are added.

Each chunk of images is one transaction, so a killed process or a full disk loses at most the chunk in
progress. Each record has a checksum: a record that was changed is rejected and not reported.
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

Maps = Mapping[str, NDArray[Any]]
"""The pixels of an image and its heat maps, by their titles."""

FILE = "results.sqlite"
_VERSION = 2
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
# SQLite's primary error codes for the disk, permissions and other processes, not the file.
_EXTERNAL = {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL),
}


class Store:
    """The results in a folder, of one protocol: what is measured and how; None opens existing results.

    Everything raises an InputError if the file cannot be read or written, or was changed.
    """

    def __init__(self, folder: Path, protocol: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        path = folder / FILE
        if not os.path.isfile(path) and (protocol is None or os.path.exists(path)):
            raise InputError(f"There are no results in {str(folder)!r} (no file {FILE}).")
        if os.path.islink(path) and not os.path.exists(path):
            raise InputError(f"Expected {str(path)!r} to be a file, got a broken link: remove it.")
        with self._reporting():
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
            # In one transaction, so that a file without a protocol is never left behind.
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self._insert("protocol", json.dumps(protocol))
            self._database.execute("COMMIT")
        elif version != _VERSION:
            raise InputError(
                f"Expected results of this version of rap_keras in {str(self.folder / FILE)!r}, got "
                f"those of version {version}; choose another folder."
            )
        (found,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise self.damaged("its tables are broken")
        rows = self._select("content", "protocol", "the protocol")
        if len(rows) != 1:
            raise self.damaged("it has no protocol, or several")
        self.protocol = self._parsed(rows[0][0], "the protocol")
        if protocol is not None:
            check_same(self.protocol, protocol, str(self.folder))
            # Damage is reported before hours of measuring, not after them.
            self.images()
            for position in self.maps():
                self.maps_of(position)

    def has_kept(self) -> bool:
        """Whether an image was measured: neither skipped nor misclassified."""
        return bool(self._positions("images WHERE status = 'kept'"))

    def discard(self) -> None:
        """Removes the file, and the folder if it is empty then."""
        self.close()
        with self._reporting():
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
        """Adds the records of the images of a chunk and the maps to keep for figures, all or none.

        An existing chunk stays as it is. If one of its images was skipped, the whole chunk is replaced,
        because the images of a chunk are measured together.
        """
        contents = {record["position"]: json.dumps(record) for record, _ in chunk}
        self._refuse_replaced()
        with self._reporting(), self._transaction():
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
        """Refuses to write to a file that is no longer in the folder."""
        path = self.folder / FILE
        if not os.path.exists(path) or not os.path.samestat(self._opened, os.stat(path)):
            raise InputError(
                f"Expected {str(path)!r} to be the file that this run opened, but another process has "
                "removed or replaced it: run one benchmark at a time in a folder."
            )

    def rename(self, title: str | None) -> None:
        """Replaces the title of the report. None keeps it."""
        if title in (None, self.protocol.get("title")):
            return
        self.protocol = {"title": title} | self.protocol | {"title": title}
        with self._reporting(), self._transaction():
            self._database.execute("DELETE FROM protocol")
            self._insert("protocol", json.dumps(self.protocol))

    def costs(self) -> dict[str, Any] | None:
        """The result of `measure_costs`; None if it was not measured."""
        with self._reporting():
            known = "sqlite_master WHERE type = 'table' AND name = 'costs'"
            if not self._database.execute(f"SELECT name FROM {known}").fetchall():
                return None
            ((content,),) = self._select("content", "costs", "the costs")
        return self._parsed(content, "the record of the costs")

    def set_costs(self, costs: Mapping[str, Any]) -> None:
        """Stores the result of `measure_costs`, in place of an earlier one."""
        with self._reporting(), self._transaction():
            self._database.execute("DROP TABLE IF EXISTS costs")
            self._database.execute("CREATE TABLE costs (content TEXT, checksum INTEGER)")
            self._insert("costs", json.dumps(costs))

    def add_maps(self, position: int, maps: Maps) -> None:
        """Adds the pixels and heat maps of an image that was stored without them."""
        with self._reporting(), self._transaction():
            self._insert_maps(position, maps)

    def _insert_maps(self, position: int, maps: Maps) -> None:
        for title, array in maps.items():
            file = io.BytesIO()
            np.save(file, array, allow_pickle=False)
            self._insert("maps", position, title, file.getvalue())

    def _insert(self, table: str, *values: Any) -> None:
        """Adds a row with its checksum."""
        row = (*values, _checksum(values))
        marks = ", ".join("?" * len(row))
        self._database.execute(f"INSERT INTO {table} VALUES ({marks})", row)

    def _select(
        self, columns: str, rows: str, what: str, parameters: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows whose checksums are right; the error describes a wrong one by `what` and its values."""
        query = f"SELECT {columns}, checksum FROM {rows}"
        found = self._database.execute(query, parameters).fetchall()
        for *values, checksum in found:
            if _checksum(values) != checksum:
                raise self.damaged(f"{what.format(*values)} was changed")
        return [tuple(values) for *values, _ in found]

    def _parsed(self, content: str, what: str) -> dict[str, Any]:
        try:
            parsed = json.loads(content)
        except (TypeError, ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise self.damaged(f"{what} cannot be read")
        return parsed

    def damaged(self, reason: str) -> InputError:
        """The error for results that were changed."""
        return InputError(
            f"The results in {str(self.folder / FILE)!r} are damaged ({reason}); put a copy of the file "
            "in its place, or remove it and run the same command again."
        )

    def positions(self) -> set[int]:
        """The stored images, by their places in the data set."""
        return self._positions("images")

    def finished(self) -> set[int]:
        """The images that need not be measured again. Skipped images may have been repaired."""
        return self._positions("images WHERE status != 'skipped'")

    def positions_of_maps(self) -> set[int]:
        """The images whose maps are stored."""
        return self._positions("maps")

    def _positions(self, where: str) -> set[int]:
        with self._reporting():
            rows = self._database.execute(f"SELECT DISTINCT position FROM {where}").fetchall()
        return {position for (position,) in rows}

    def images(self) -> list[dict[str, Any]]:
        """The record of each image, in the order of the data set."""
        what = "the record of image {0}"
        with self._reporting():
            rows = self._select("position, status, content", "images ORDER BY position", what)
        records = []
        for position, status, content in rows:
            record = self._parsed(content, what.format(position))
            if (record.get("position"), record.get("status")) != (position, status):
                raise self.damaged(f"{what.format(position)} is another's")
            records.append(record)
        return records

    def maps(self, count: int | None = None) -> "StoredMaps":
        """Pixels and heat maps of the first images that have them, by default of all."""
        return StoredMaps(self, sorted(self.positions_of_maps())[:count])

    def maps_of(self, position: int) -> dict[str, NDArray[Any]]:
        """The pixels and heat maps of an image, by their titles."""
        what = "a map of image {0}"
        chosen = "maps WHERE position = ? ORDER BY rowid"
        with self._reporting():
            rows = self._select("position, title, content", chosen, what, [position])
        maps: dict[str, NDArray[Any]] = {}
        for _, title, content in rows:
            try:
                maps[title] = np.load(io.BytesIO(content), allow_pickle=False)
            except Exception as error:  # NumPy's readers raise many kinds of errors
                raise self.damaged(f"{what.format(position)} cannot be read") from error
        return maps

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Writes everything or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite rolls back itself if the disk is full.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Reports in one sentence why the file cannot be used."""
        try:
            yield
        except (OSError, sqlite3.Error, UnicodeError) as error:
            code = getattr(error, "sqlite_errorcode", -1) & 0xFF
            if not isinstance(error, OSError) and code not in _EXTERNAL:
                raise self.damaged(reason(error)) from error
            raise InputError(
                f"The results in {str(self.folder / FILE)!r} cannot be read or written "
                f"({reason(error)}); earlier results are kept: fix this and run the same command again."
            ) from error


class StoredMaps(Mapping[int, Maps]):
    """Maps by the places of their images, which are read when they are used."""

    def __init__(self, store: Store, positions: Sequence[int]) -> None:
        self._store, self._positions = store, positions

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
