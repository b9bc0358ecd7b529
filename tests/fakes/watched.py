"""The language server with a watchdog on its event loop, as a program: `watched.py REPORT [arguments of the server]`.

What may wait (files, folders, databases, processes, imports) or compute for long (compiling) is noted when the event
loop's thread does it once the client has said `initialized`; so is the processor time of each callback, which unlike
the clock does not depend on what else the machine does. At the end it writes REPORT, one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nl2code_server.lsp import faststart

WAITS = (
    "open import os.listdir os.scandir os.system subprocess.Popen sqlite3.connect ctypes.dlopen "
    "socket.getaddrinfo socket.gethostbyname glob.glob shutil.rmtree"
)
LONG_SOURCE = 20_000  # characters; less compiles in a few milliseconds


class Watchdog:
    """Notes what happens in callbacks of the event loop after `begin`."""

    def __init__(self) -> None:
        self.blocking: list[dict[str, Any]] = []
        self.slowest: list[dict[str, Any]] = []
        self._loop_thread = threading.main_thread().ident
        self._depth = 0
        self._events = frozenset(WAITS.split())

    def begin(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._audit)
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            if threading.get_ident() != self._loop_thread:
                run(handle)
                return
            self._depth += 1
            began = time.thread_time()
            try:
                run(handle)
            finally:
                took = time.thread_time() - began
                self._depth -= 1
                if took > 0.02:
                    self.slowest.append({"seconds": took, "callback": repr(handle)})

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._depth or threading.get_ident() != self._loop_thread:
            return
        if event == "compile":
            source = arguments[0]
            size = len(source) if isinstance(source, str | bytes) else 0
            if size < LONG_SOURCE:
                return
        elif event not in self._events:
            return
        what = str(arguments[0]) if arguments else ""
        # The kernel's own memory; and what the compiler calls a text without a file.
        if what.startswith(("/proc/", "<")):
            return
        where: list[str] = []
        frame = sys._getframe(1)
        while frame.f_back is not None and len(where) < 12:
            where.append(
                f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}"
            )
            frame = frame.f_back
        self.blocking.append({"event": event, "what": what[:200], "where": where})


def main(server: Callable[[list[str]], int]) -> int:
    """Serve, and write the report."""
    report = Path(sys.argv[1])
    dog = Watchdog()
    settle, begun = faststart.settle, threading.Event()

    def settled() -> None:
        settle()
        if not begun.is_set():
            begun.set()
            dog.begin()

    faststart.settle = settled
    status = server(sys.argv[2:])
    report.write_text(json.dumps({"blocking": dog.blocking, "slowest": dog.slowest}))
    return status


if __name__ == "__main__":
    from nl2code_server.__main__ import main as serve

    sys.exit(main(serve))
