"""A process that writes feedback until it is killed, and notes what the log has acknowledged."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.feedback.log import FeedbackLog


def main(path: Path, notes: Path, name: str, rounds: int, start: float, pause: float = 0.003) -> None:
    """Log `rounds` requests, each with a candidate and an event, from `start` on, as a server does."""
    time.sleep(max(0.0, start - time.time()))
    log = FeedbackLog(path, redact=False)
    with notes.open("a") as file:
        for i in range(rounds):
            key = f"{name}-{i}"
            log.record_request(request_row(key, instruction="x" * 500))
            log.record_candidates([candidate_row(f"c{key}", key)])
            log.record_event(event_row("offered", f"c{key}", key))
            if not log.written(30):
                sys.exit("not written in time")
            file.write(f"{key}\n")
            file.flush()
            time.sleep(pause)  # SQLite's locks are not fair: a writer that never rests starves the others
    if not log.close_now():
        sys.exit("not written in time")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *map(float, sys.argv[5:]))
