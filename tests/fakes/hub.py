"""A model hub and a folder of wheels, both on this machine, with the faults that such places have."""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Hub:
    """Serves one file. `cut_after` bytes of the next answer it hangs up."""

    content: bytes
    status: int = 200
    cut_after: int | None = None
    ranges: bool = True
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """`path range` of each request."""


@contextmanager
def hub(content: bytes) -> Iterator[Hub]:
    state = Hub(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(f"{self.path} {asked}".strip())
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.ranges else 0  # type: ignore[index]
            rest = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                size = len(state.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut, state.cut_after = state.cut_after, None
            self.wfile.write(rest if cut is None else rest[:cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def write_wheel(folder: Path, name: str, version: str, member: str, content: bytes) -> Path:
    """Write a wheel that pip takes, with one file of data in it."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{member},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path
