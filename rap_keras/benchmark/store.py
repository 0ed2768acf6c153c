"""Where a benchmark keeps what it has measured: one SQLite file, to which images are added.

Each image is one transaction: a process that is killed, or a full disk, loses the image at work at most.
"""

import contextlib
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError

FILE = "results.sqlite"
_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE protocol (content TEXT NOT NULL);
    CREATE TABLE images (
        position INTEGER PRIMARY KEY, status TEXT NOT NULL, content TEXT NOT NULL);
    CREATE TABLE maps (
        position INTEGER NOT NULL, title TEXT NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (position, title));
    PRAGMA user_version = {_VERSION};
"""
# What may differ between two runs that belong together.
_IDENTITY_EXCLUDES = ("command", "shard")

Maps = Mapping[str, NDArray[Any]]


class Store:
    """The results in a folder.

    Args:
        folder: Holds `results.sqlite`, or will.
        protocol: What is measured and how; a folder that holds results of another protocol is refused.
            None opens what is there.

    Raises:
        InputError: The folder holds results of another protocol, or none though none are to be begun, or
            cannot be read or written.
    """

    def __init__(self, folder: Path, protocol: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        path = folder / FILE
        if protocol is None and not path.is_file():
            raise InputError(f"There are no results in {str(folder)!r} (no {FILE}).")
        with self._telling():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            try:
                self._open(protocol)
            except BaseException:
                self._database.close()
                raise

    def _open(self, protocol: Mapping[str, Any] | None) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0 and protocol is not None:
            # In one transaction, so that a file without a protocol never stays behind.
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self._database.execute("INSERT INTO protocol VALUES (?)", (json.dumps(protocol),))
            self._database.execute("COMMIT")
        elif version != _VERSION:
            raise InputError(
                f"Expected results of this version of rap_keras in {str(self.folder / FILE)!r}, got "
                f"those of version {version}; choose another folder."
            )
        (content,) = self._database.execute("SELECT content FROM protocol").fetchone()
        self.protocol = json.loads(content)
        if protocol is not None:
            check_same(self.protocol, protocol, str(self.folder))

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def add(self, record: Mapping[str, Any], maps: Maps | None = None) -> None:
        """Adds an image; one that is there already is left as it is, unless it was skipped.

        Args:
            record: What was measured, as JSON knows it; "position" and "status" are among it.
            maps: Pixels and heat maps to keep for figures.

        Raises:
            InputError: The file cannot be written to; what it held before is still there.
        """
        position = record["position"]
        with self._telling(), self._transaction():
            added = self._database.execute(
                """INSERT INTO images VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
                status = excluded.status, content = excluded.content WHERE status = 'skipped'""",
                (position, record["status"], json.dumps(record)),
            )
            if added.rowcount:
                self._insert_maps(position, maps or {})

    def add_maps(self, position: int, maps: Maps) -> None:
        """Adds the pixels and heat maps of an image that is there without them.

        Raises:
            InputError: The file cannot be written to.
        """
        with self._telling(), self._transaction():
            self._insert_maps(position, maps)

    def _insert_maps(self, position: int, maps: Maps) -> None:
        self._database.executemany(
            "INSERT INTO maps VALUES (?, ?, ?)",
            [(position, title, _pack(array)) for title, array in maps.items()],
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
        with self._telling():
            rows = self._database.execute("SELECT content FROM images ORDER BY position").fetchall()
        return [json.loads(content) for (content,) in rows]

    def maps(self, count: int | None = None) -> dict[int, dict[str, NDArray[Any]]]:
        """Pixels and heat maps of the images that have some, or of the first `count` of them."""
        maps: dict[int, dict[str, NDArray[Any]]] = {}
        query = """SELECT position, title, content FROM maps WHERE position IN
            (SELECT DISTINCT position FROM maps ORDER BY position LIMIT ?) ORDER BY position, rowid"""
        with self._telling():
            rows = self._database.execute(query, (-1 if count is None else count,)).fetchall()
        for position, title, content in rows:
            maps.setdefault(position, {})[title] = np.load(io.BytesIO(content), allow_pickle=False)
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
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"The results in {str(self.folder / FILE)!r} cannot be read or written ({reason}); what "
                "was added before is kept: mend this and run the same command again."
            ) from error


def check_same(held: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Refuses results of another protocol.

    Raises:
        InputError: The protocols differ in more than the command; says in what first.
    """
    given = json.loads(json.dumps(given))
    for key in sorted({*held, *given} - {*_IDENTITY_EXCLUDES}):
        if held.get(key) != given.get(key):
            raise InputError(
                f"Expected results of the same protocol in {where}, but there {key} was "
                f"{_short(held.get(key))} and now is {_short(given.get(key))}; choose another folder, "
                "or run as before."
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _pack(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
