"""`nl2code doctor --network`: watches the real server make a suggestion, and counts what tries to leave this machine.

Two witnesses. Python's audit hook, put into every Python process of the run, records each address that is connected
to, sent to or looked up, and refuses those beyond loopback. On Linux, where it is allowed, all of it runs in a
network namespace that has loopback alone, whose counters in the kernel see native code as well. Each witness is tried
first.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..config import VARIABLE_PREFIX
from ..platform import paths

Finding = tuple[str, Literal["ok", "warn", "fail"], str, str]

SECONDS = 240.0
"""For everything, the model's loading included."""
_SETTLE = 2.0
_COMMENT = "# write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"
_ELSEWHERE = ("198.51.100.7", 9)  # an address that belongs to nobody (RFC 5737)
_RECORD = "WATCHED_CONNECTIONS"
_HOOK = f'''
import os, sys
_LOOPBACK = ("127.", "::1", "localhost", "/", "@")
def _hook(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[0]
    else:
        return
    host = address[0] if isinstance(address, tuple) and address else address
    if isinstance(host, bytes):
        host = host.decode("utf-8", "replace")
    text = str(host or "")
    here = not text or text.startswith(_LOOPBACK) or "\\0" in text
    with open(os.environ["{_RECORD}"], "a") as file:
        file.write(f"{{os.getpid()}} {{event}} {{'here' if here else 'elsewhere'}} {{text}}\\n")
    if not here:
        raise PermissionError(f"nl2code doctor --network: {{event}} {{text}}")
if os.environ.get("{_RECORD}"):
    with open(os.environ["{_RECORD}"], "a") as file:
        file.write(f"{{os.getpid()}} start here \\n")
    sys.addaudithook(_hook)
'''


def findings() -> Iterator[Finding]:
    """Yield what was found, as name, state (`ok`, `warn`, `fail`), detail and fix."""
    alone = _namespace()
    command = [sys.executable, "-P", "-m", __name__]
    try:
        run = subprocess.run(
            [*alone, *command, "alone" if alone else "shared"],
            capture_output=True,
            text=True,
            timeout=SECONDS + 60,
            check=False,
            cwd=Path.home(),
        )
        seen = json.loads(run.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        yield "network", "fail", f"it could not be watched: {error}", "Try again on a quiet machine"
        return
    yield from _judged(seen)


def _judged(seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what the witnesses saw."""
    by = f"audit hook in {seen['processes']} Python processes"
    if seen["counters"] is None:
        by += "; what native code does is not proven here"
    else:
        by = f"network namespace with loopback alone, its counters in the kernel; {by}"
    if not seen["hook_works"] or seen["counters_work"] is False:
        yield "network", "fail", f"the witness does not see its own trial ({by})", "Report this"
        return
    elsewhere = [*seen["elsewhere"]]
    if seen["counters"]:
        elsewhere.append(f"{seen['counters']} packets without a route")
    if elsewhere:
        told = ", ".join(sorted(set(elsewhere)))
        yield "network", "fail", f"tried to leave this machine: {told} ({by})", "Report this"
        return
    yield "network", "ok", f"default settings, nothing tried to leave this machine ({by})", ""
    if seen["suggestion"]:
        yield "network", "ok", f"watched from start to suggestion: {seen['suggestion']}", ""
    else:
        fix = "Fetch the model first: nl2code model pull"
        yield "network", "warn", f"the model host was not watched: {seen['reason']}", fix


def _namespace() -> list[str]:
    """Return the command that runs another without a network, where this system lets the user."""
    unshare = shutil.which("unshare") if sys.platform == "linux" else None
    if unshare is None:
        return []
    command = [unshare, "--map-root-user", "--net"]
    tried = subprocess.run([*command, "true"], capture_output=True, timeout=30, check=False)
    return command if tried.returncode == 0 else []


# --- inside ---


def main() -> None:
    """Run the server as an editor does, with default settings, and print what was seen."""
    alone = sys.argv[1:] == ["alone"]
    if alone:
        _raise_loopback()
    with tempfile.TemporaryDirectory(prefix="nl2code-network-") as name:
        folder = Path(name)
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(_HOOK)
        record = folder / "record"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLE_PREFIX)}
        environment |= {
            "NL2CODE_HOME": str(folder / "home"),
            "NL2CODE_MODELS": str(paths().models),
            "PYTHONPATH": str(folder / "hook"),
            _RECORD: str(record),
        }
        works = _hook_works(environment, record)
        record.unlink(missing_ok=True)
        before = _counters() if alone else None
        try:
            suggestion, reason = _session(environment, folder)
        finally:
            stop = [sys.executable, "-P", "-m", "nl2code_server.cli", "host", "stop"]
            subprocess.run(stop, env=environment, capture_output=True, timeout=60, check=False)
        after = _counters() if alone else None
        lines = [line.split(" ", 3) for line in record.read_text().splitlines()]
    print(
        json.dumps(
            {
                "hook_works": works,
                "processes": len({line[0] for line in lines if line[1] == "start"}),
                "elsewhere": [f"{line[1]} {line[3]}" for line in lines if line[2] == "elsewhere"],
                "counters": None if before is None or after is None else after - before,
                "counters_work": _counters_work() if alone else None,
                "suggestion": suggestion,
                "reason": reason,
            }
        )
    )


def _hook_works(environment: Mapping[str, str], record: Path) -> bool:
    """Let a process try to leave, and see whether it is seen and stopped."""
    code = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect({_ELSEWHERE!r})"
    tried = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, timeout=60, check=False
    )
    return tried.returncode != 0 and f"elsewhere {_ELSEWHERE[0]}" in record.read_text()


def _counters() -> int:
    """Count the packets that this network namespace had no way out for, and names asked for by UDP."""
    total = 0
    tables = Path("/proc/net/snmp").read_text().splitlines()
    for names, values in zip(tables[::2], tables[1::2], strict=True):
        figures = dict(zip(names.split(), values.split(), strict=True))
        total += int(figures.get("OutNoRoutes", 0)) if names.startswith("Ip:") else 0
        total += int(figures.get("OutDatagrams", 0)) if names.startswith("Udp:") else 0
    six = Path("/proc/net/snmp6")
    if six.exists():
        figures = dict(line.split() for line in six.read_text().splitlines())
        total += int(figures.get("Ip6OutNoRoutes", 0)) + int(figures.get("Udp6OutDatagrams", 0))
    return total


def _counters_work() -> bool:
    """Try to leave the namespace, which has no way out, and see whether that is counted."""
    import socket

    before = _counters()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.settimeout(1)
        one.connect_ex(_ELSEWHERE)
    return _counters() > before


def _raise_loopback() -> None:
    """Switch the namespace's loopback device on."""
    import fcntl
    import socket

    set_flags, up, name = 0x8914, 0x1, b"lo"  # SIOCSIFFLAGS, IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, set_flags, struct.pack("16sh14x", name, up))


def _session(environment: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Ask the server for the code of a comment; return its first line, or why there was none."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nl2code_server", "--stdio"],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    editor = _Editor(process)
    try:
        return editor.suggestion()
    finally:
        process.kill()
        process.communicate()


class _Editor:
    """Just enough of an editor to get one suggestion."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._end = time.monotonic() + SECONDS
        self._status: dict[str, Any] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def suggestion(self) -> tuple[str, str]:
        self._ask(1, "initialize", {"processId": os.getpid(), "capabilities": {}, "rootUri": None})
        self._send({"method": "initialized", "params": {}})
        document = {"uri": "untitled:gcd.py", "languageId": "python", "version": 1, "text": f"{_COMMENT}\n"}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        number, reason = 1, ""
        items: list[dict[str, Any]] = []
        while not items and time.monotonic() < self._end:
            number += 1
            params = {
                "textDocument": {"uri": document["uri"]},
                "position": {"line": 0, "character": len(_COMMENT)},
                "context": {"triggerKind": 1},
            }
            items = (self._ask(number, "textDocument/inlineCompletion", params) or {}).get("items") or []
            if not items and not self._status.get("busy"):
                reason = str(self._status.get("message", ""))
                break
        time.sleep(_SETTLE)  # what is done behind an answer counts too
        if not items:
            return "", reason or "nothing came in time"
        return str(items[0]["insertText"]).strip().splitlines()[0], ""

    def _ask(self, number: int, method: str, params: Any) -> Any:
        self._send({"id": number, "method": method, "params": params})
        while (left := self._end - time.monotonic()) > 0:
            try:
                message = self._messages.get(timeout=left)
            except queue.Empty:
                break
            if message is None:
                break
            if message.get("method") == "didChangeStatus":
                self._status = message["params"]
            elif "method" in message and "id" in message:
                self._send({"id": message["id"], "result": None})
            elif message.get("id") == number:
                return message.get("result")
        return None

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream
        length = 0
        while line := stream.readline():
            if line == b"\r\n":
                self._messages.put(json.loads(stream.read(length)))
            elif line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self._messages.put(None)


if __name__ == "__main__":
    main()
