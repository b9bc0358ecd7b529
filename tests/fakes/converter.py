"""A process that encrypts the feedback store and makes it plain again, over and over, until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from nl2code_server.feedback import convert
from nl2code_server.feedback.store import Store


def main(path: Path, notes: Path) -> None:
    """Convert for ever; note each time."""
    with notes.open("a") as file:
        while True:
            Store(path).close()  # mends what another left, as every opening does
            for rewrite in (convert.encrypt, convert.decrypt):
                if rewrite(path):
                    file.write(f"{rewrite.__name__}\n")
                    file.flush()
            time.sleep(0.05)  # the locks are not fair: writers get their turn


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
