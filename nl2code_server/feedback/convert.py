"""Rewrite a feedback store encrypted, or plain again, while others use it; a kill at any moment loses nothing.

The new file is written beside the old one and takes its place in one step, while nobody else has a turn at the store.
Who had the old one open sees that at the next turn, and opens the new one.
"""

# ruff: noqa: S608  (the names put into queries are this module's own)

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import StoreError
from ..platform import lock
from .database import Damaged, connect, explained, private_file, transaction, unusable
from .keys import key_name, mark, marker, new_key, store_key
from .schema import TABLES

_PAGE = 500  # rows in memory
_PATIENCE = 60.0  # s that another's turn may take: a large store is rewritten in one


def encrypt(path: Path) -> bool:
    """Encrypt the store at `path`; say whether it had not been encrypted before."""
    return _convert(path, encrypted=True)


def decrypt(path: Path) -> bool:
    """Make the store at `path` a plain file again; say whether it had been encrypted before."""
    return _convert(path, encrypted=False)


@contextmanager
def turn(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the store's lock: share it as who uses the file, have it alone as who puts another in its place.

    Who wants it alone stands in the gate, which nobody passes meanwhile: readers one after the other would keep it.
    """
    gate, room = (path.with_name(f"{path.name}.{name}") for name in ("gate", "lock"))
    with ExitStack() as stack:
        with lock(gate, timeout=_PATIENCE, shared=shared):
            stack.enter_context(lock(room, timeout=_PATIENCE, shared=shared))
        yield


def unfinished(path: Path) -> list[Path]:
    """Return what a conversion has left that did not come to its end."""
    return [file for suffix in ("", "-journal") if (file := _draft(path, suffix)).exists()]


def clear(path: Path) -> None:
    """Delete what is unfinished. The store's lock must be held."""
    for file in unfinished(path):
        file.unlink()


def _draft(path: Path, suffix: str = "") -> Path:
    return path.with_name(f"{path.name}.converting{suffix}")


def _convert(path: Path, *, encrypted: bool) -> bool:
    try:
        with turn(path):
            if bool(key_name(path)) == encrypted:
                return False
            clear(path)
            _rewrite(path, new_key() if encrypted else None)
            return True
    except Damaged as error:
        raise unusable(path, str(error)) from error
    except OSError as error:  # includes TimeoutError
        raise unusable(path, error.strerror or str(error)) from error


def _rewrite(path: Path, key: bytes | None) -> None:
    private_file(path)
    source = connect(path, store_key(path))
    old = os.open(path, os.O_RDWR)
    try:
        source.execute("BEGIN EXCLUSIVE")
        draft = _draft(path)
        private_file(draft)
        target = connect(draft, key)
        try:
            _copy(source, target)
        except target.Error as error:
            raise explained(error, draft) from error
        finally:
            target.close()
        # In between, a marked store may be plain, which its first reader sees and mends; never the reverse.
        if key:
            mark(path, key)
        draft.replace(path)
        _sync(path.parent)
        if not key:
            marker(path).unlink()
        _overwrite(old)
    except source.Error as error:
        raise explained(error, path) from error
    finally:
        clear(path)
        source.close()
        os.close(old)  # not before: closing any handle of a file gives up all locks on it


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    with transaction(target):
        for table in TABLES:
            rows = source.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in rows.description]
            columns = ", ".join(f'"{name}"' for name in names)
            marks = ", ".join("?" * len(names))
            while page := rows.fetchmany(_PAGE):
                target.executemany(
                    f"INSERT INTO {table} ({columns}) VALUES ({marks})", [tuple(row) for row in page]
                )
    for table in TABLES:
        count = f"SELECT count(*) FROM {table}"
        if source.execute(count).fetchone()[0] != target.execute(count).fetchone()[0]:
            raise StoreError("Not every row of the feedback store could be copied", "It was left as it is")


def _overwrite(file: int) -> None:
    """Write zeros over an open file. The disk may keep older copies of its blocks all the same."""
    size, zeros = os.fstat(file).st_size, bytes(1 << 16)
    os.lseek(file, 0, os.SEEK_SET)
    while size > 0:
        size -= os.write(file, zeros[: min(size, len(zeros))])
    os.fsync(file)


def _sync(folder: Path) -> None:
    """Have the disk know a file's new name; where folders cannot be opened, it knows already."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
