"""Time the language server against a bare pygls server: start-up, first answer, keystrokes, memory.

Sessions of all servers take turns, so that what else the machine does falls on all of them alike. Each session is one
process; a value is the median of its session, a result the median of the sessions with their range.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from nl2code_server.errors import HostError

COPILOT = "@github/copilot-language-server"
SIZES = (100, 10_000, 100_000)
CHANGES = {100: 100, 10_000: 100, 100_000: 20}
TRIPS = {100: 40, 10_000: 30, 100_000: 10}

# What a language server costs that does nothing but keep the text and answer.
BARE = """
from lsprotocol import types
from pygls.lsp.server import LanguageServer
server = LanguageServer("bare", "1")
@server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION)
async def complete(ls, params):
    ls.workspace.get_text_document(params.text_document.uri)
    return []
server.start_io()
"""


@dataclass(frozen=True)
class Measure:
    """One thing that is timed; `target` is the ratio to the bare server that ours is to keep to at 10,000 lines."""

    key: str
    title: str
    unit: str
    scale: float = 1.0
    target: float | None = None


MEASURES = (
    Measure("initialize", "spawn to initialize reply", "ms", 1e3, 0.5),
    Measure("first_answer", "spawn to first answer", "ms", 1e3, 0.5),
    Measure("change", "didChange", "µs", 1e6, 0.1),
    Measure("trip", "didChange + request, round trip", "ms", 1e3),
    Measure("memory", "memory with the file open", "MiB", 2.0**-20),
)


@dataclass(frozen=True)
class Server:
    """A language server to time; `method` is the request that it is asked."""

    name: str
    command: tuple[str, ...]
    method: str = "textDocument/inlineCompletion"


@dataclass
class Result:
    """One measure of one server at one size, in the measure's unit."""

    lines: int
    measure: Measure
    server: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one of the sessions."""
        return median(self.values)


def servers(copilot: Path | None = None) -> list[Server]:
    """Return ours, the bare one, and those of others that are installed; Copilot's if its folder is given."""
    python = sys.executable
    found = [
        Server("nl2code", (python, "-m", "nl2code_server")),
        Server("bare pygls", (python, "-c", BARE)),
    ]
    scripts = {script.name: script.value for script in metadata.entry_points(group="console_scripts")}
    for name, script in (("jedi-language-server", "jedi-language-server"), ("python-lsp-server", "pylsp")):
        if script in scripts:
            module, function = scripts[script].split(":")
            start = f"from {module} import {function}; {function}()"
            found.append(Server(name, (python, "-c", start), "textDocument/completion"))
    if copilot is not None:
        found.append(Server("Copilot", (*_copilot(copilot), "--stdio")))
    return found


def install_copilot(folder: Path) -> Path:
    """Fetch Copilot's language server from npm into a folder, unless it is there, and return the folder."""
    if not (folder / "node_modules").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise HostError(
                "npm is not on PATH, and Copilot's language server comes from there", "leave it out"
            )
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), COPILOT]
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise HostError(f"npm cannot fetch {COPILOT}: {said}", "leave it out")
    return folder


def _copilot(folder: Path) -> tuple[str, ...]:
    """Return the command of a Copilot server in a folder: its own program for this system, else node."""
    modules = folder / "node_modules" / "@github"
    for program in sorted(modules.glob("copilot-language-server-*/copilot-language-server*")):
        if program.is_file() and os.access(program, os.X_OK):
            return (str(program),)
    script = modules / "copilot-language-server" / "dist" / "language-server.js"
    node = shutil.which("node")
    if node is None or not script.is_file():
        raise HostError(f"there is no Copilot language server in {folder}", "leave it out")
    return node, str(script)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pygls": metadata.version("pygls"),
        "lsprotocol": metadata.version("lsprotocol"),
    }


def run(
    sizes: tuple[int, ...] = SIZES,
    rounds: int = 7,
    tell: Callable[[str], None] = lambda _: None,
    copilot: Path | None = None,
) -> list[Result]:
    """Time all servers in turns, `rounds` sessions each and size; `tell` hears of the progress."""
    contestants = servers(copilot)
    results = {
        (lines, measure.key, server.name): Result(lines, measure, server.name)
        for lines in sizes
        for measure in MEASURES
        for server in contestants
    }
    with tempfile.TemporaryDirectory(prefix="nl2code-bench-") as home:
        for server in contestants:
            session(server, 100, home)  # compiled files and disk caches are not what is timed
        for lines in sizes:
            for turn in range(rounds):
                tell(f"{lines:,} lines, round {turn + 1} of {rounds}")
                # Who goes first may find the machine in another state.
                for server in contestants if turn % 2 == 0 else contestants[::-1]:
                    for key, value in session(server, lines, home).items():
                        result = results[lines, key, server.name]
                        result.values.append(value * result.measure.scale)
    return list(results.values())


def session(server: Server, lines: int, home: str) -> dict[str, float]:
    """Run one server once; return seconds and bytes by measure."""
    text = source(lines)
    row = text[: len(text) // 2].count("\n")
    row += next(n for n, line in enumerate(text.splitlines()[row:]) if line.endswith("total += item"))
    column = len("            total += item")
    spot = {"line": row, "character": column}
    asked = {"textDocument": {"uri": URI}, "position": spot, "context": {"triggerKind": 2}}
    got: dict[str, float] = {}
    started = time.perf_counter()
    with _Client(server.command, home) as client:
        client.request("initialize", {"processId": None, "rootUri": None, "capabilities": CAPABILITIES})
        got["initialize"] = time.perf_counter() - started
        client.notify("initialized", {})
        item = {"uri": URI, "languageId": "python", "version": 1, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": item})
        client.request(server.method, asked)
        got["first_answer"] = time.perf_counter() - started

        changes = _typing(row, column)

        def changed_and_asked(count: int, method: str, params: Any) -> float:
            burst = list(islice(changes, count))
            before = time.perf_counter()
            client.request(method, params, behind=burst)
            return time.perf_counter() - before

        alone = median(changed_and_asked(0, SYNC, {}) for _ in range(9))
        count = CHANGES.get(lines, 50)
        together = median(changed_and_asked(count, SYNC, {}) for _ in range(5))
        got["change"] = max(together - alone, 0.0) / count
        got["trip"] = median(changed_and_asked(1, server.method, asked) for _ in range(TRIPS.get(lines, 10)))
        got["memory"] = client.memory()
    return got


def source(lines: int) -> str:
    """Return a module of that many lines: classes with methods, as people write them."""
    block = (
        "class Stock{n}:\n"
        '    """Items in store {n}."""\n'
        "\n"
        "    def __init__(self, items: list[int], name: str = 'größe {n}') -> None:\n"
        "        self.items = items  # as delivered\n"
        "        self.name = name\n"
        "\n"
        "    def total(self, least: int = {n}) -> int:\n"
        "        total = 0\n"
        "        for item in self.items:\n"
        "            if item < least:\n"
        "                continue\n"
        "            # Broken ones were taken out on delivery.\n"
        "            total += item\n"
        "        return total\n"
        "\n"
        "    def describe(self) -> str:\n"
        "        return f'{{self.name}}: {{self.total()}} of {{len(self.items)}}'\n"
        "\n"
        "\n"
    )
    return "".join(block.format(n=n) for n in range(lines // 20))


def report(results: list[Result]) -> dict[str, Any]:
    """Return the results as plain data: medians, ranges, and ratios to the bare server."""
    by_key = {(result.lines, result.measure.key, result.server): result for result in results}
    rows = []
    for result in results:
        bare = by_key[result.lines, result.measure.key, "bare pygls"].median
        ours = result.server == "nl2code"
        rows.append(
            {
                "lines": result.lines,
                "measure": result.measure.key,
                "unit": result.measure.unit,
                "server": result.server,
                "median": round(result.median, 2),
                "low": round(min(result.values), 2),
                "high": round(max(result.values), 2),
                "sessions": len(result.values),
                "ratio": round(result.median / bare, 3) if bare else None,
                "target": result.measure.target if ours and result.lines == 10_000 else None,
            }
        )
    return {"bench": "server", "machine": machine(), "results": rows}


URI = "file:///bench.py"
LONGEST = 180.0  # seconds for one session
SYNC = "$/bench/sync"
"""Known to no server: what comes back is that everything before it was handled."""
CAPABILITIES = {
    "general": {"positionEncodings": ["utf-16"]},
    "textDocument": {"inlineCompletion": {}, "synchronization": {}},
}


def _typing(row: int, column: int) -> Iterator[dict[str, Any]]:
    """Yield changes that type a character and delete it again, without end."""
    version = 1
    while True:
        for start, end, text in ((column, column, "s"), (column, column + 1, "")):
            version += 1
            span = {"start": {"line": row, "character": start}, "end": {"line": row, "character": end}}
            yield {
                "method": "textDocument/didChange",
                "params": {
                    "textDocument": {"uri": URI, "version": version},
                    "contentChanges": [{"range": span, "text": text}],
                },
            }


class _Client:
    """A server process and the pipes to it. Blocks: nothing else is to happen while it is timed."""

    def __init__(self, command: tuple[str, ...], home: str) -> None:
        # No endpoint answers there, and so no model is started that would take the machine from the servers.
        environment = {**os.environ, "NL2CODE_HOME": home, "NL2CODE_ENDPOINT": "http://127.0.0.1:9"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._command = " ".join(command)
        self._number = 0
        self._deadline = threading.Timer(LONGEST, self._process.kill)
        self._deadline.start()

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *exc: object) -> None:
        process = self._process
        if exc[0] is None:
            self.request("shutdown", None)
            self.notify("exit", None)
        else:
            process.kill()
        process.communicate()
        self._deadline.cancel()

    def notify(self, method: str, params: Any) -> None:
        self._send([{"method": method, "params": params}])

    def request(self, method: str, params: Any, behind: Sequence[dict[str, Any]] = ()) -> Any:
        """Send a request, in one write with messages in front of it, and wait for its answer."""
        self._number += 1
        number = self._number
        self._send([*behind, {"id": number, "method": method, "params": params}])
        while True:
            message = self._read()
            if "method" not in message and message.get("id") == number:
                return message.get("result", message.get("error"))
            if "method" in message and "id" in message:
                self._send([{"id": message["id"], "result": _reply(message)}])

    def memory(self) -> float:
        """Return the resident size in bytes."""
        status = Path(f"/proc/{self._process.pid}/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            return int(line.split()[1]) * 1024.0
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self._process.pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        return int(told.stdout) * 1024.0

    def _send(self, messages: list[dict[str, Any]]) -> None:
        bodies = [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages]
        assert self._process.stdin
        self._process.stdin.write(b"".join(b"Content-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream
        length = 0
        while line := stream.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if not length:
            raise RuntimeError(f"this server ended, or hung: {self._command}")
        message: dict[str, Any] = json.loads(stream.read(length))
        return message


def _reply(message: dict[str, Any]) -> Any:
    if message["method"] == "workspace/configuration":
        return [None] * len(message["params"]["items"])
    return None
