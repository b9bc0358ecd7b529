"""Hosts that run are told which adapter to serve; those that start find it themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nl2code_server.endpoint import runtime

TIMEOUT = 180.0
"""Seconds for a host to end what is under way and load the adapter."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a host answered."""

    pid: int
    engine: str
    adapter: str
    problem: str = ""


def tell_hosts(model: str, name: str, folder: Path | None) -> list[Told]:
    """Have every running host of a model serve an adapter, or none; say which did not, and why."""
    return [_tell(record, name, folder) for record in runtime.records() if record.model == model]


def _tell(record: runtime.Record, name: str, folder: Path | None) -> Told:
    import httpx2

    body = {"name": name, "folder": str(folder)} if folder else {"name": "", "folder": ""}
    url = f"{record.url.removesuffix('/v1')}/adapter"
    try:
        with httpx2.Client(
            headers={"Authorization": f"Bearer {record.token}"}, timeout=TIMEOUT, trust_env=False
        ) as http:
            answer = http.post(url, json=body)
    except httpx2.HTTPError as error:
        return Told(record.pid, record.engine, "", f"it does not answer: {error}")
    if answer.status_code != httpx2.codes.OK:
        try:
            return Told(record.pid, record.engine, "", str(answer.json()["error"]["message"]))
        except (ValueError, KeyError, TypeError):
            return Told(record.pid, record.engine, "", f"it answered {answer.status_code}")
    adapter = str(answer.json().get("adapter", ""))
    # Servers that keep answers see by this that they are out of date.
    runtime.write(replace(record, adapter=adapter))
    return Told(record.pid, record.engine, adapter)
