"""Under what conditions a task was timed, so that a reader can see which seconds may be compared."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from nl2code_server.config import Settings, is_loopback
from nl2code_server.platform import physical_cores

LOAD_APART = 0.5
"""Difference of two arms' median load averages from which their seconds are not held to be comparable."""


def now(settings: Settings, run: str) -> dict[str, Any]:
    """Return what a record tells of its conditions; `run` names the call of the command that it comes from."""
    host = urlsplit(settings.endpoint).hostname or ""
    elsewhere = bool(settings.endpoint) and not is_loopback(host)
    return {
        "run": run,
        "time": round(time.time()),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        # Of an endpoint that we did not start nobody can tell.
        "threads": None if settings.endpoint else settings.threads or physical_cores(),
        "endpoint": "remote" if elsewhere else "given" if settings.endpoint else "own host",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def warnings(arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """Say what keeps the figures of these arms' records from being compared with each other."""
    said: list[str] = []
    for name, records in arms.items():
        models = sorted({one["model"] for one in records if one["model"]})
        if len(models) > 1:
            said.append(f"{name}: its records come from several models ({', '.join(models)})")
    found = {name: [one.get("conditions") or {} for one in records] for name, records in arms.items()}
    found = {name: each for name, each in found.items() if each}
    if untold := [name for name, each in found.items() if not all(each)]:
        said.append(f"seconds of {', '.join(untold)}: nothing is known of the threads and the load")
    for field, word in (("machine", "machines"), ("cpus", "numbers of CPUs"), ("threads", "threads")):
        values = {name: sorted({str(one[field]) for one in each if one}) for name, each in found.items()}
        if len({value for each in values.values() for value in each}) > 1:
            told = "; ".join(f"{name} {'/'.join(each)}" for name, each in values.items() if each)
            said.append(f"seconds were taken under different {word}: {told}")
    loads = {
        name: median(known)
        for name, each in found.items()
        if (known := [one["load"] for one in each if one and one["load"] is not None])
    }
    if loads and max(loads.values()) - min(loads.values()) > LOAD_APART:
        told = "; ".join(f"{name} {load:.1f}" for name, load in loads.items())
        said.append(f"seconds were taken under different loads (median load average): {told}")
    runs = {name: {one["run"] for one in each if one} for name, each in found.items()}
    if len({frozenset(each) for each in runs.values() if each}) > 1:
        said.append("the arms were not timed in the same run")
    return said
