"""Open the feedback store's file safely: private, of a known schema, undamaged; and say what is wrong if it is not.

Rollback journal and full sync: SQLite before 3.51.3 can corrupt a write-ahead log, and a few rows a minute need no
more.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..platform import owned, paths, private_folder
from . import schema
from .keys import INSTALL

BUSY_TIMEOUT = 10.0  # s


class Damaged(Exception):
    """The file is no database, one of another key, or its structure is not sound."""


def connect(path: Path, key: bytes | None = None) -> sqlite3.Connection:
    """Open the store, bring its tables up to date and check it. Raise Damaged or StoreError.

    One with a key is opened by SQLCipher's library. Its connections are like sqlite3's, but their errors have
    classes of their own: catch `connection.Error`.
    """
    library = _sqlcipher(path) if key else sqlite3
    try:
        connection: sqlite3.Connection = library.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            if key:
                connection.execute("PRAGMA cipher_log_level = NONE").fetchall()  # errors are raised, too
                connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"").fetchall()
            connection.row_factory = library.Row
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except library.Error as error:
        raise (Damaged(str(error)) if is_damage(error) else explained(error, path)) from error
    return connection


def _sqlcipher(path: Path) -> Any:
    try:
        from sqlcipher3 import dbapi2
    except ImportError as error:
        raise unusable(path, "it is encrypted, which needs more packages", INSTALL) from error
    return dbapi2


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # A damaged text is better shown than the reason for not showing any.
    connection.text_factory = lambda value: value.decode("utf-8", "replace")
    for pragma in (
        "journal_mode = DELETE",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "temp_store = MEMORY",  # rebuilding the file would copy its text to a temporary one
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    _migrate(connection, path)
    problems = connection.execute("PRAGMA quick_check(1)").fetchall()
    if problems[0][0] != "ok":
        raise Damaged(problems[0][0])


class transaction:
    """A write transaction that has its lock from the start: two that upgrade a read lock would deadlock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            try:
                self.connection.execute("COMMIT")
                return
            except self.connection.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        if self.connection.in_transaction:  # a full disk has rolled it back already
            with suppress(self.connection.Error):  # the error that led here is the one to tell
                self.connection.execute("ROLLBACK")


def private_file(path: Path) -> int:
    """Make sure that the file is there, a plain one, the user's own and nobody else's to read. Return its inode."""
    folder = path.parent
    if not folder.exists() or folder == paths().data:
        private_folder(folder.resolve())
    if folder.is_symlink() and not owned(folder.resolve()):
        raise unusable(path, "its folder is a link to another user's")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unusable(path, "its folder is read-only")
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        kind = (
            "a link"
            if stat.S_ISLNK(mode)
            else "a folder"
            if stat.S_ISDIR(mode)
            else ""
            if stat.S_ISREG(mode)
            else "no plain file"
        )
        if kind:
            raise unusable(path, f"it is {kind}")
        if not owned(path):
            raise unusable(path, "it belongs to another user")
    # One that is there is not opened: closing it again would give up the locks that other threads hold on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    info = path.lstat()
    if stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o600)
    if not os.access(path, os.R_OK | os.W_OK):
        raise unusable(path, "it is read-only")
    return info.st_ino


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date: once, whoever comes first."""
    if _version(connection, path) == len(schema.MIGRATIONS):
        return
    with transaction(connection):
        for statements in schema.MIGRATIONS[_version(connection, path) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(schema.MIGRATIONS):
        raise StoreError(
            f"The feedback store {path} is of schema {version}, by a newer nl2code; "
            f"this one knows {len(schema.MIGRATIONS)}",
            "Update nl2code, or set `database` to another file",
        )
    mine = connection.execute("PRAGMA application_id").fetchone()[0] == schema.APPLICATION_ID
    if not mine and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(f"{path} is another program's database", "Set `database` to a file of its own")
    return version


def is_damage(error: Exception) -> bool:
    return _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_gone(error: Exception, path: Path, inode: int) -> bool:
    """Tell whether the open file is no longer the one at its path; SQLite looks before it writes."""
    if _code(error) & 0xFF != sqlite3.SQLITE_READONLY:
        return False
    try:
        return path.lstat().st_ino != inode
    except FileNotFoundError:
        return True


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) or 0


def explained(error: Exception, path: Path) -> StoreError:
    code = _code(error) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"The disk is full: feedback cannot be written to {path}", "Free some space")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"Another process has kept {path} locked for {BUSY_TIMEOUT:.0f} s", "Try again, or end it"
        )
    return unusable(path, str(error))


def unusable(path: Path, reason: str, fix: str = "Mend it, or set `database` to another file") -> StoreError:
    return StoreError(f"The feedback store {path} cannot be used: {reason}", fix)
