"""`nl2code doctor`: checks everything that has to work, and says how to mend what does not."""

from __future__ import annotations

import asyncio
import json
import os
import platform as python_platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from .. import config
from ..endpoint import Endpoint
from ..endpoint.client import ChatClient
from ..endpoint.process import host_status, require_model
from ..errors import ModelMissing, Nl2CodeError
from ..platform import free_bytes, paths, physical_cores, private_folder, total_memory

State = Literal["ok", "warn", "fail"]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
GIB = 1 << 30
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    state: State
    detail: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Watch that a suggestion leaves this machine nowhere; a minute.")
    ] = False,
) -> None:
    """Check all that has to work, and say how to mend it.

        nl2code doctor

    Nothing is started but editors and servers with `--version`, and nothing sent but one question to the endpoint,
    if one is configured: which models it has. With `--network` a server of its own, with the default settings, makes
    a suggestion under observation. Exit code 0 if nothing failed, 1 if something did; warnings do not
    count.
    """
    loaded = config.load()
    checks = [*local_checks(loaded), *asyncio.run(model_checks(loaded.settings)), *editor_checks()]
    checks += network_checks() if network else ()
    ok = all(check.state != "fail" for check in checks)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, ensure_ascii=False))
    else:
        for check in checks:
            typer.echo(
                f"{typer.style(f'{check.state:4}', fg=COLOURS[check.state])}  {check.name}: {check.detail}"
            )
            if check.fix:
                typer.echo(f"      → {check.fix}")
    raise typer.Exit(0 if ok else 1)


def local_checks(loaded: config.Loaded) -> Iterator[Check]:
    """Check this machine and the settings."""
    yield Check(
        "python", "ok", f"{python_platform.python_version()}, {sys.executable}, {python_platform.platform()}"
    )
    yield _packages()
    yield from _config(loaded)
    yield from _folders()
    cores, memory = physical_cores(), total_memory()
    yield Check(
        "hardware",
        "ok" if memory >= 2 * GIB else "warn",
        f"{cores} {'core' if cores == 1 else 'cores'}, {memory / GIB:.1f} GiB of memory",
        "" if memory >= 2 * GIB else "Even the smallest models want 1 GiB: point endpoint at another machine",
    )


async def model_checks(settings: config.Settings) -> list[Check]:
    """Check what answers: the configured endpoint, or else the model half, the model and the host."""
    if settings.endpoint:
        return [await _endpoint(settings)]
    engine = _engine(settings)
    faster = _faster_vectors() if settings.engine != "torch" else ()
    return [
        engine,
        *faster,
        *([await _model(settings)] if engine.state != "fail" else []),
        *await _hosts(settings),
    ]


def editor_checks() -> Iterator[Check]:
    """Check the editors that are here; one that is not set up is no fault."""
    from .doctor_editors import findings

    try:
        for title, (well, detail, fix) in findings():
            yield Check("editor", "ok" if well else "warn", f"{title}: {detail}", fix)
    except Nl2CodeError as error:
        yield Check("editor", "fail", error.message, error.fix)


def network_checks() -> Iterator[Check]:
    """Watch whether anything tries to leave this machine with the default settings."""
    from .doctor_network import findings

    yield from (Check(*found) for found in findings())


def _packages() -> Check:
    """Look for what the package requires; a checkout that is not installed says nothing of that."""
    try:
        found = [f"nl2code {version('nl2code')}"]
    except PackageNotFoundError:
        return Check(
            "packages", "fail", "nl2code is not installed, only imported", "run: pip install nl2code"
        )
    names = [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        for requirement in requires("nl2code") or []
        if "extra ==" not in requirement
    ]
    missing = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "packages",
            "fail",
            f"not installed: {', '.join(missing)}",
            "run: pip install --force-reinstall nl2code",
        )
    return Check("packages", "ok", ", ".join(found))


def _config(loaded: config.Loaded) -> Iterator[Check]:
    file, settings = paths().config_file, loaded.settings
    for problem in loaded.problems:
        yield Check("config", "warn", problem, "See what may be set: nl2code config")
    if not loaded.problems:
        yield Check("config", "ok", str(file) if file.exists() else f"{file} does not exist, which is fine")
    if loaded.sources["api_key"] == "file" and os.name == "posix" and file.stat().st_mode & 0o077:
        yield Check("config", "warn", f"{file} holds a key and others may read it", f"run: chmod 600 {file}")
    address = urlsplit(settings.endpoint)
    if settings.api_key and address.scheme == "http" and not config.is_loopback(address.hostname or ""):
        yield Check("config", "warn", "the key and your code are sent unencrypted", "Use an https endpoint")


def _folders() -> Iterator[Check]:
    try:
        private_folder(paths().runtime)
    except OSError as error:
        yield Check(
            "folders", "fail", f"{paths().runtime} cannot be used: {error.strerror or error}",
            "Set NL2CODE_HOME to a folder of yours",
        )  # fmt: skip
    for folder in (paths().data, paths().cache):
        present = next(level for level in (folder, *folder.parents) if level.exists())
        if not os.access(present, os.W_OK):
            yield Check(
                "folders", "fail", f"{present} cannot be written to", "Set NL2CODE_HOME to a folder of yours"
            )
    free = free_bytes(paths().models)
    small = free < 2 * GIB
    yield Check(
        "disk", "warn" if small else "ok", f"{free / GIB:.1f} GiB free at {paths().models}",
        "Make room, or set NL2CODE_MODELS to a folder on another disk" if small else "",
    )  # fmt: skip


async def _endpoint(settings: config.Settings) -> Check:
    model = "" if settings.model == "auto" else settings.model
    client = ChatClient(
        Endpoint(settings.endpoint, settings.api_key, model),
        request_timeout=min(10, settings.request_timeout),
    )
    try:
        found = await client.capabilities()
    except Nl2CodeError as error:
        return Check("endpoint", "fail", error.message, error.fix)
    finally:
        await client.close()
    return Check("endpoint", "ok", f"{found.model} answers at {settings.endpoint} (server: {found.server})")


def _engine(settings: config.Settings) -> Check:
    """Look for the model half where the host will run; importing it here would take long and prove less."""
    wanted = ("torch", "transformers") if settings.engine == "torch" else ("xllamacpp",)
    names = ("nl2code_model", "starlette", "uvicorn", *wanted)
    code = f"from importlib.util import find_spec; print(*(n for n in {names!r} if not find_spec(n)))"
    python = settings.python or sys.executable
    extra = "torch" if settings.engine == "torch" else "local"
    install = f"run: {python} -m pip install 'nl2code[{extra}]'"
    try:
        asked = subprocess.run(
            [python, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=Path.home(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("model half", "fail", f"{python} cannot be run: {error}", "Check python in the settings")
    if asked.returncode:
        last = asked.stderr.strip().rpartition("\n")[2]
        return Check("model half", "fail", f"{python} fails: {last}", "It has to be Python 3.11 or newer")
    if missing := asked.stdout.split():
        return Check("model half", "fail", f"{python} lacks {', '.join(missing)}", install)
    return Check("model half", "ok", f"{', '.join(wanted)} in {python}")


def _faster_vectors() -> Iterator[Check]:
    """Say what a llama.cpp built on this machine could use and the wheel, which is made for any, does not."""
    try:
        told = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return
    flags = next((line.split() for line in told.splitlines() if line.startswith("flags")), [])
    if unused := [name for name in ("avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if name in flags]:
        yield Check(
            "vectors",
            "ok",
            f"the llama.cpp wheel uses AVX2; this CPU has {', '.join(unused)} too",
            "A llama.cpp built here may be faster: `nl2code bench decode --help` says how to compare; "
            "build its llama-server with -DGGML_NATIVE=ON and set endpoint to its address",
        )


async def _model(settings: config.Settings) -> Check:
    try:
        found = await require_model(settings)
    except Nl2CodeError as error:
        # One that is merely missing is fetched when it is first needed.
        return Check("model", "warn" if isinstance(error, ModelMissing) else "fail", error.message, error.fix)
    return Check("model", "ok", found)


async def _hosts(settings: config.Settings) -> list[Check]:
    hosts = await host_status(settings)
    if not hosts:
        return [Check("host", "ok", "none runs; one is started when it is needed")]
    return [
        Check(
            "host",
            "ok" if host.answers else "fail",
            f"{host.record.model} ({host.record.engine}), process {host.record.pid}, "
            + ("answers" if host.answers else f"does not answer; its log is {host.log}"),
            "" if host.answers else "run: nl2code host stop",
        )
        for host in hosts
    ]
