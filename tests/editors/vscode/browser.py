"""A headless browser and its pages, driven through `driver.cjs`."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).parent / "driver.cjs"
_SECONDS = 120.0


class Browser:
    """A browser in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="browser")
        self._reader.start()
        self._answer(0, _SECONDS)

    def call(self, page: str | None, call: str, *args: Any, seconds: float = _SECONDS) -> Any:
        """Call a method of a page, or of the driver, and return what it gives."""
        number = next(self._ids)
        request = {"id": number, "call": call, "args": args} | ({"page": page} if page else {})
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer(number, seconds)

    def close(self) -> None:
        """End the browser, and wait for it."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join(5)
            if self._process.stdout:
                self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put({"id": -1, "error": "the browser has ended"})

    def _answer(self, number: int, seconds: float) -> Any:
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"the browser did not answer within {seconds:g} s") from None
        if "error" in answer:
            raise AssertionError(answer["error"])
        assert answer["id"] == number, answer
        return answer["value"]


@contextmanager
def browsing(
    node: Path, playwright: Path, program: str, folder: Path, *, scale: int = 1
) -> Iterator[Browser]:
    """Run a browser with an empty profile. `scale` is how many pixels make one in a picture."""
    command = [str(node), str(_SCRIPT), str(playwright), program, str(folder / "browser"), str(scale)]
    with (folder / "browser.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder
        )
        try:
            browser = Browser(process)
        except BaseException:
            process.kill()
            raise
        try:
            yield browser
        finally:
            browser.close()
