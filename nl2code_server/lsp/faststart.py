"""Start in half the time: define the protocol's classes when they are first used, collect no garbage meanwhile.

`lsprotocol.types` defines 554 attrs classes, each by compiling source; one session uses about fifty of them. Most
of a server's start-up goes there. asyncio imports `ssl`, which only a remote endpoint needs: it waits as well.
`begin` must run before anything imports pygls or lsprotocol; `settle` after the first exchange.
NL2CODE_NO_FASTSTART=1 turns it all off.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
import threading
from types import ModuleType
from typing import Any

_log = logging.getLogger(__name__)
_TYPES = "lsprotocol.types"


def begin() -> None:
    """Import lsprotocol with its classes undefined as yet, and put garbage collection off until `settle`."""
    if os.environ.get("NL2CODE_NO_FASTSTART") == "1":
        return
    gc.disable()
    if "asyncio" not in sys.modules:
        for name in ("ssl", "asyncio.sslproto"):
            if name not in sys.modules:
                sys.modules[name] = _Later(name)
    if _TYPES not in sys.modules:
        try:
            _import_lazily()
        except Exception:
            # Another release of attrs or lsprotocol: nothing is lost but time.
            _log.debug("lsprotocol cannot be loaded lazily", exc_info=True)
            for name in [name for name in sys.modules if name.split(".")[0] == "lsprotocol"]:
                del sys.modules[name]
            importlib.import_module(_TYPES)


def settle() -> None:
    """Collect garbage again, leaving out what start-up made and will keep. Harmless when repeated."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _import_lazily() -> None:
    import attrs

    importlib.import_module("lsprotocol.validators")  # defines classes of its own, eagerly
    define, deferred = attrs.define, _Deferred()
    attrs.define = deferred.define  # type: ignore[assignment]
    try:
        types = importlib.import_module(_TYPES)
    finally:
        attrs.define = define
    deferred.names = types.ALL_TYPES_MAP
    # Each class has its annotations resolved when it is built, so that resolving all of them at once can be left out.
    hooks: Any = importlib.import_module("lsprotocol._hooks")
    if hooks._resolved_forward_references is not False:
        raise RuntimeError("lsprotocol resolves its annotations in another way")
    hooks._resolved_forward_references = True


class _Deferred:
    """Classes that wait for their attrs definition, which is made in place."""

    def __init__(self) -> None:
        import attrs

        self.names: dict[str, Any] = {}
        self._define = attrs.define
        self._resolve = attrs.resolve_types
        self._waiting: set[type] = set()
        self._lock = threading.RLock()
        self._traps = {name: _Trap(name, self) for name in ("__init__", "__attrs_attrs__", "__match_args__")}

    def define(self, cls: type) -> type:
        """Stand in for `attrs.define` as a bare decorator."""
        self._waiting.add(cls)
        for name, trap in self._traps.items():
            setattr(cls, name, trap)
        return cls

    def build(self, cls: type) -> None:
        """Define a class and those that it inherits from."""
        with self._lock:
            for base in reversed(cls.__mro__):
                if base not in self._waiting:
                    continue
                # attrs keeps what a class defines itself, unless told otherwise. Slots would need a new class.
                delattr(base, "__match_args__")
                self._define(slots=False, init=True)(base)
                self._resolve(base, self.names, {})
                self._waiting.discard(base)


class _Later(ModuleType):
    """A module that is imported when something in it is asked for. Those who hold it see the real one's contents."""

    _lock = threading.RLock()

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        if attribute.startswith("__"):  # the import system looks whether it is being initialised
            raise AttributeError(attribute)
        with _Later._lock:
            if sys.modules.get(name) is self:
                del sys.modules[name]
            real = importlib.import_module(name)
            self.__dict__.update(real.__dict__)
        return getattr(real, attribute)


class _Trap:
    """A class attribute that has the class built when it is asked for, then gives way to the real one."""

    __slots__ = ("_deferred", "_name")

    def __init__(self, name: str, deferred: _Deferred) -> None:
        self._name = name
        self._deferred = deferred

    def __get__(self, instance: object, owner: type) -> Any:
        self._deferred.build(owner)
        return getattr(owner if instance is None else instance, self._name)
