"""A stand-in for the model half, as a real process: `serve`, `model path` and `model pull`, each as scripted.

    settings = Settings(python=fake_interpreter(tmp_path, serve="die: out of memory"))

What `serve` starts is a `FakeEndpoint` that says it is the model host, wants its token, and has a runtime record.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

SIZE = 98362432
CODE = "```python\ndef gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n```"


def fake_interpreter(
    folder: Path, *, serve: str = "", present: bool = True, pull: str = "", replies: tuple[str, ...] = (CODE,)
) -> str:
    """Write a command that passes for a Python interpreter with the model half, and return its path.

    `serve`: empty works; `slow: SECONDS` before it is ready; `die: REASON`; `brief` ends when it is ready;
    `stubborn` ignores requests to end. `pull`: empty works; `slow: SECONDS` after each step; `fail: MESSAGE`;
    `hang`; else what it prints.
    Each call of a command is a line in `calls.log` beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = {"serve": serve, "present": present, "pull": pull, "replies": replies, "folder": str(folder)}
    (folder / "script.json").write_text(json.dumps(script))
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}/script.json" "$@"\n')
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> list[str]:
    """Return the command lines that were run, oldest first."""
    log = folder / "calls.log"
    return log.read_text().splitlines() if log.exists() else []


def main() -> None:
    script = json.loads(Path(sys.argv[1]).read_text())
    arguments = sys.argv[2:]
    assert arguments[:3] == ["-P", "-m", "nl2code_server.cli"], arguments
    with (Path(script["folder"]) / "calls.log").open("a") as log:
        log.write(" ".join(arguments[3:]) + "\n")
    match arguments[3:]:
        case ["serve", *options]:
            serve(script, options)
        case ["model", "path", model, "--json"]:
            present = script["present"] or (Path(script["folder"]) / "pulled").exists()
            told = {"id": model, "path": "/m.gguf", "present": present, "bytes": SIZE}
            print("a warning first", file=sys.stderr)
            print(json.dumps(told), flush=True)
        case ["model", "pull", model, "--json"]:
            pull(script["pull"], Path(script["folder"]))
        case other:
            sys.exit(f"Error: No such command '{other[0]}'.")


def serve(script: dict[str, Any], options: list[str]) -> None:
    from fakes.endpoint import FakeEndpoint
    from nl2code_server.endpoint import runtime

    how, _, detail = script["serve"].partition(": ")
    if how == "die":
        sys.exit(f"some noise\n{detail}\n")
    if how == "slow":
        time.sleep(float(detail))
    parser = argparse.ArgumentParser()
    for name in ("engine", "model", "device", "threads", "idle-exit"):
        parser.add_argument(f"--{name}", required=True)
    asked = parser.parse_args(options)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else lambda *_: ended.set())
    key = runtime.key(asked.engine, asked.model, asked.device)
    token = os.urandom(8).hex()
    with FakeEndpoint(script["replies"], owned_by="nl2code", prefill=True, key=token) as fake:
        record = runtime.Record(
            url=fake.url,
            token=token,
            pid=os.getpid(),
            engine="fake",
            model=asked.model,
            protocol=runtime.PROTOCOL,
            key=key,
            started=time.time(),
        )
        runtime.write(record)
        ended.wait(0.2 if how == "brief" else 60)
    runtime.remove(key, os.getpid())


def pull(how: str, folder: Path) -> None:
    kind, _, detail = how.partition(": ")
    if kind == "fail":
        print(json.dumps({"event": "error", "message": detail, "fix": "make room"}))
        sys.exit(1)
    if kind == "hang":
        child = os.fork()
        name = "child.pid" if child == 0 else "pull.pid"
        (folder / name).write_text(str(os.getpid()))
        time.sleep(60)
    if kind not in ("", "slow"):
        sys.exit(how)
    total = SIZE if kind else 100
    for done in (0, total // 2, total):
        print(
            json.dumps({"event": "progress", "done": done, "total": total, "source": "package"}), flush=True
        )
        print("noise of a library", flush=True)
        time.sleep(float(detail or 0))
    (folder / "pulled").touch()
    print(json.dumps({"event": "done", "path": "/m.gguf"}), flush=True)


if __name__ == "__main__":
    main()
