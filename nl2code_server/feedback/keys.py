"""Where the key of an encrypted feedback store is kept: in the system's keyring, or in a file where there is none.

A marker beside the store names its key. By it, what is encrypted is known from what is damaged, and a wrong key from
the right one, before anything is opened.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from .. import config
from ..errors import StoreError
from ..platform import write_private

SERVICE = "nl2code"
"""Under which keyrings list the keys; the account is the key's name."""
INSTALL = "run: pip install 'nl2code[encrypted]'"
_PATIENCE = 60.0  # s that a keyring may wait for its user
_PAUSE = 300.0  # s before a keyring that refused is asked again: it may ask its user each time
_WITHOUT_KEYRING = "Unlock or install one, or name a key file of yours as encryption_key_file"
_MAKE_KEY = "run: (umask 077; openssl rand -hex 32 > FILE)"

_known: dict[str, bytes] = {}
_refused: dict[str, tuple[float, StoreError]] = {}


def marker(path: Path) -> Path:
    """Return the file that names the key of the store at `path`; without it, the store is not encrypted."""
    return path.with_name(f"{path.name}.encrypted")


def key_name(path: Path) -> str:
    """Return the name of the key that the store is encrypted with; empty if it is not encrypted."""
    try:
        return marker(path).read_text(encoding="utf-8", errors="replace").strip() or "unknown"
    except FileNotFoundError:
        return ""


def mark(path: Path, key: bytes) -> None:
    """Note which key the store is encrypted with."""
    write_private(marker(path), f"{_name(key)}\n")


def store_key(path: Path) -> bytes | None:
    """Return the key of the store; None if it is not encrypted. Raise StoreError where the key cannot be had."""
    name = key_name(path)
    if not name:
        return None
    if name not in _known:
        _known[name] = _find(name, path)
    return _known[name]


def new_key() -> bytes:
    """Return the key for a store that is to be encrypted: the one in the file, or a new one in the keyring."""
    if file := _key_file():
        return _read(file)
    key = os.urandom(32)
    name = _name(key)

    def keep() -> str | None:
        import keyring

        keyring.set_password(SERVICE, name, key.hex())
        return keyring.get_password(SERVICE, name)

    if _ask(name, keep) != key.hex():
        raise StoreError("The keyring does not keep what it is given", _WITHOUT_KEYRING)
    return key


def _find(name: str, path: Path) -> bytes:
    if file := _key_file():
        key = _read(file)
        if _name(key) != name:
            raise StoreError(
                f"The feedback store {path} is encrypted with another key than that in {file}",
                "Name the right file as encryption_key_file, or none if the key is in the keyring; "
                "nothing was changed",
            )
        return key

    def find() -> str | None:
        import keyring

        return keyring.get_password(SERVICE, name)

    text = _ask(name, find)
    if text is None or not _is_key(text) or _name(bytes.fromhex(text)) != name:
        raise StoreError(
            f"The feedback store {path} is encrypted, and its key {name} is not in this keyring",
            f"Bring it back: keyring set {SERVICE} {name}. Without it nobody can read the store; "
            "set `database` to another file to begin a new one",
        )
    return bytes.fromhex(text)


def _ask(name: str, question: Callable[[], str | None]) -> str | None:
    """Ask the keyring in a thread of its own: it may be waiting for somebody to unlock it."""
    since, refusal = _refused.get(name, (0.0, None))
    if refusal and time.monotonic() - since < _PAUSE:
        raise refusal
    answer: Future[str | None] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="keyring", daemon=True).start()
    try:
        return answer.result(_PATIENCE)
    except ImportError as error:
        raise StoreError("The store's key is in the keyring, which needs more packages", INSTALL) from error
    except TimeoutError as error:
        found = StoreError(f"The keyring has not answered within {_PATIENCE:.0f} s", _WITHOUT_KEYRING)
        _refused[name] = time.monotonic(), found
        raise found from error
    except Exception as error:  # each backend has errors of its own
        none = type(error).__name__ == "NoKeyringError"
        reason = "there is none here" if none else f"{type(error).__name__}: {error}"
        found = StoreError(f"The keyring for the store's key cannot be used: {reason}", _WITHOUT_KEYRING)
        _refused[name] = time.monotonic(), found
        raise found from error


def _key_file() -> Path | None:
    named = config.load().settings.encryption_key_file
    return Path(named) if named else None


def _read(file: Path) -> bytes:
    try:
        text, mode = file.read_text(encoding="ascii", errors="replace").strip(), file.stat().st_mode
    except OSError as error:
        raise StoreError(f"The key file {file} cannot be read: {error.strerror}", _MAKE_KEY) from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise StoreError(f"Others may read the key file {file}", f"run: chmod 600 {file}")
    if not _is_key(text):
        raise StoreError(f"The key file {file} does not hold 64 hexadecimal digits", _MAKE_KEY)
    return bytes.fromhex(text)


def _is_key(text: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{64}", text) is not None


def _name(key: bytes) -> str:
    """Name a key by what does not give it away."""
    return hmac.new(key, b"name of a key of the nl2code feedback store", hashlib.sha256).hexdigest()[:16]
