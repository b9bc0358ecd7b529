"""A process that reads the feedback store over and over, and fails if a row that it has seen is gone."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from nl2code_server.feedback.store import Store


def main(path: Path, pause: float = 0.05) -> None:
    """Read until stdin ends; print how often."""
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    seen: set[str] = set()
    passes = 0
    with Store(path) as store:
        while not ended.wait(pause):
            found = {record.request.request_id for record in store.records()}
            if gone := seen - found:
                sys.exit(f"{len(gone)} rows are gone")
            seen = found
            passes += 1
    print(passes)


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
