"""The runtime file of a running model host, mode 0600: how the other processes of its user find it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .. import __version__
from ..platform import owned, paths, private_folder, process_alive, write_private

PROTOCOL = 1
"""Version of what host and server say to each other beyond the OpenAI API."""


@dataclass(frozen=True, slots=True)
class Record:
    """A model host that answers on this machine."""

    url: str
    """Base URL, ends in `/v1`."""
    token: str
    pid: int
    engine: str
    """The engine that runs, where the request may have said `auto`; likewise `model`."""
    model: str
    protocol: int
    key: str
    """What it was asked to be: see `key`."""
    started: float
    """Seconds since the epoch."""
    adapter: str = ""
    """Version of the tuned adapter that it serves; empty for the model itself."""

    def __repr__(self) -> str:
        return f"Record({self.url}, pid {self.pid}, {self.engine}, {self.model}, key {self.key})"


def key(engine: str, model: str, device: str) -> str:
    """Name the host that serves this request. The values are those asked for, `auto` included."""
    asked = "\n".join((__version__, engine, model, device))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def read(key: str) -> Record | None:
    """Return the record of a host whose process runs; whether it answers is for the caller to find out."""
    return _load(_path(key))


def records() -> list[Record]:
    """Return the records of all hosts whose processes run, oldest first."""
    found = [_load(path) for path in paths().runtime.glob("host-*.json")]
    return sorted((record for record in found if record), key=lambda record: record.started)


def write(record: Record) -> None:
    """Tell the other processes about a host. It must be ready to answer."""
    private_folder(paths().runtime)
    write_private(_path(record.key), json.dumps(asdict(record)))


def remove(key: str, pid: int) -> None:
    """Forget a host, unless another process has taken its place."""
    path = _path(key)
    record = _parse(path)
    if record is None or record.pid == pid:
        path.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return paths().runtime / f"host-{key}.json"


def _load(path: Path) -> Record | None:
    record = _parse(path)
    return record if record and process_alive(record.pid) else None


def _parse(path: Path) -> Record | None:
    """Read a record. One written by somebody else would send the user's code to a process of theirs."""
    try:
        if not owned(path):
            return None
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    values = {"adapter": "", **values}
    types: dict[str, Any] = {"str": str, "int": int, "float": (int, float)}
    if any(not isinstance(values.get(field.name), types[str(field.type)]) for field in fields(Record)):
        return None
    return Record(**{field.name: values[field.name] for field in fields(Record)})
