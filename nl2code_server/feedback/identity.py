"""Ids that say nothing: keyed hashes for files and projects, sortable random ids for requests and suggestions."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..platform import lock, owned, paths, private_folder, write_private

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 40
_LENGTH = 17  # 45 bits of milliseconds, then the random bits, five to a character
_KEY_BYTES = 32


class _Counter:
    """Make ids that grow within a process, also within a millisecond and when the clock steps back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        drawn = time.time_ns() // 1_000_000 << _RANDOM_BITS | int.from_bytes(os.urandom(5))
        with self._lock:
            self._last = max(drawn, self._last + 1)
            return self._last


_counter = _Counter()


def new_id() -> str:
    """Return an id for a request, a suggestion or a session: unique, and sorted by the time of its making."""
    number = _counter.next()
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def file_id(path: str | Path) -> str:
    """Return the keyed hash of a file's path or `file:` URI; empty for nothing."""
    return _keyed("file", path)


def project_id(folder: str | Path) -> str:
    """Return the keyed hash of a workspace folder's path or `file:` URI; empty for nothing."""
    return _keyed("project", folder)


def _keyed(purpose: str, path: str | Path) -> str:
    if not str(path):
        return ""
    message = f"{purpose}\0{_canonical(str(path))}".encode("utf-8", "surrogatepass")
    return hmac.new(_key(paths().data), message, hashlib.sha256).hexdigest()[:24]


def _canonical(path: str) -> str:
    """Let a URI, a relative path and one with a trailing slash give one id; do not ask the disk."""
    if "://" in path or path.startswith("untitled:"):
        parts = urlsplit(path)
        if parts.scheme != "file":
            return path
        path = unquote(parts.path)
    return str(Path(path).absolute())


@cache
def _key(folder: Path) -> bytes:
    """Read the user's key, or make it. Where the disk does not allow it, ids hold for this process alone."""
    file = folder / "identity.key"
    try:
        private_folder(folder)
        # Two servers that start together must agree on one key.
        with lock(folder / "identity.lock", timeout=5):
            if file.exists() and owned(file) and len(key := file.read_bytes()) == _KEY_BYTES:
                return key
            key = os.urandom(_KEY_BYTES)
            write_private(file, key)
            return key
    except OSError:  # includes TimeoutError
        return os.urandom(_KEY_BYTES)
