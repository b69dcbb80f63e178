"""What was computed from a file before, found again by the hash of all that it depends on.

One SQLite file; it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import weakref
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

VARIABLE = "SEQGAN_MUSIC_CACHE"
"""Environment variable: the folder of the cache, or ``off``."""
MOST_BYTES = 1_000_000_000

_SUM = 4  # bytes of checksum in front of a value


class Cache:
    """Bytes by key.

    It is never in the way: where it cannot be read or written it holds nothing.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    most_bytes : int
        A cache that has grown beyond this when it is opened is emptied.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = folder / "cache.sqlite3"
        self._database: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > most_bytes:
                self.path.unlink()
            self._database = _opened(self.path)
        except (OSError, sqlite3.OperationalError):
            pass  # no place to write, or held by another process for too long
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError, sqlite3.Error):  # damaged: begin a new one
                self.path.unlink()
                self._database = _opened(self.path)
        if self._database:
            weakref.finalize(self, self._database.close)

    @classmethod
    def of_user(cls) -> Cache | None:
        """The user's own, where `VARIABLE` or else the system says; None if it is turned off."""
        folder = os.environ.get(VARIABLE, "")
        if folder == "off":
            return None
        if folder:
            return cls(Path(folder))
        import platformdirs

        return cls(platformdirs.user_cache_path("seqgan-music", appauthor=False))

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, if there is one."""
        if self._database is None:
            return None
        try:
            row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:
            return None
        if row is None or _sum(row[0][_SUM:]) != row[0][:_SUM]:  # SQLite does not see that bytes have changed
            return None
        value: bytes = row[0][_SUM:]
        return value

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep values by their keys."""
        if self._database is None or not entries:
            return
        rows = [(key, _sum(value) + value) for key, value in entries.items()]
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)


def _sum(value: bytes) -> bytes:
    return zlib.crc32(value).to_bytes(_SUM, "big")


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    except sqlite3.Error:
        database.close()
        raise
    return database


def digest(*parts: bytes | str) -> bytes:
    """SHA-256 over parts, each told apart from the next."""
    sha = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        sha.update(len(content).to_bytes(8, "big") + content)
    return sha.digest()


def source_digest(modules: Iterable[ModuleType]) -> bytes:
    """SHA-256 of the code of modules: what they computed is stale once they change."""
    return digest(*(Path(module.__file__).read_bytes() for module in modules if module.__file__))
