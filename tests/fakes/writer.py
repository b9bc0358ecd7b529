"""A process that writes feedback until it is killed, and notes each row that the store has acknowledged."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.feedback.store import Store


def main(path: Path, notes: Path, name: str, rounds: int, start: float) -> None:
    """Write `rounds` requests, each with a candidate and an event in one transaction, from `start` on."""
    time.sleep(max(0.0, start - time.time()))
    with Store(path) as store, notes.open("a") as file:
        for i in range(rounds):
            key = f"{name}-{i}"
            if store.add(
                [request_row(key), candidate_row(f"c{key}", key), event_row("offered", f"c{key}", key)]
            ):
                sys.exit("refused")
            file.write(f"{key}\n")
            file.flush()
            time.sleep(0.003)  # SQLite's locks are not fair: a writer that never rests starves the others


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
