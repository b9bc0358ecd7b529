"""Kill servers with SIGKILL while they log, and look whether anything that was acknowledged is missing.

    cd tests && python -m e2e.kills 200 [plain|encrypted|converting]

Two writers at a time, as two editors have, and a reader; a writer that was killed is replaced while the other goes
on. `encrypted`: the store is. `converting`: a fourth process encrypts it and makes it plain again all the time, and
is killed each time as well. The last line is the result, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from fakes.keyrings import key_file
from nl2code_server.feedback.store import Store

Mode = Literal["plain", "encrypted", "converting"]

_STARTS = 60.0  # seconds that a writer may take to its first row
_LONGEST = 0.15  # seconds from there to its end


@dataclass(frozen=True, slots=True)
class Result:
    """What was left after so many kills."""

    kills: int
    acknowledged: int
    missing: int
    incomplete: int
    """Requests without their candidate or event."""
    integrity: str
    reads: int
    conversions: int
    notice: str
    seconds: float


def run(kills: int, folder: Path, mode: Mode = "plain", seed: int = 14) -> Result:
    """Kill so many writers, one after the other, and look at the store."""
    path, draw, began = folder / "feedback.db", random.Random(seed), time.monotonic()
    if mode != "plain":
        os.environ["NL2CODE_ENCRYPTION_KEY_FILE"] = str(key_file(folder))
    Store(path, encrypt=mode == "encrypted").close()
    pause = 0.1 if mode == "converting" else 0.003  # s; who converts needs a moment when nobody has a turn
    notes: list[Path] = []
    conversions = folder / "conversions"
    reader = _start("fakes.reader", path, max(pause * 5, 0.05), pipe=subprocess.PIPE)
    writers: list[tuple[subprocess.Popen[bytes], Path]] = []
    converters: list[subprocess.Popen[bytes]] = []
    started = [reader]
    try:
        for number in range(kills):
            while len(writers) < 2:
                notes.append(folder / f"acknowledged-{len(notes)}")
                name = f"w{len(notes)}"
                process = _start("fakes.writer", path, notes[-1], name, 1_000_000, 0.0, pause)
                writers.append((process, notes[-1]))
                started.append(process)
            if mode == "converting":
                converters.append(_start("fakes.converter", path, conversions))
                started.append(converters[-1])
            process, note = writers.pop(draw.randrange(2) if number else 0)
            _wait_for_a_row(process, note)
            if converters:
                _wait_for_a_row(converters[-1], conversions, _size(conversions))
            time.sleep(draw.random() * _LONGEST)
            for one in (process, *converters[-1:]):
                one.kill()
                one.wait(10)
        for process, _ in writers:
            process.kill()
            process.wait(10)
        told, _ = reader.communicate(timeout=60)
    finally:
        for one in started:
            one.kill()
            one.wait(10)
    if reader.returncode != 0:
        raise AssertionError("the reader failed")
    done = conversions.read_text().count("\n") if conversions.exists() else 0
    return _look(path, notes, (kills, int(told), done), time.monotonic() - began)


def _start(module: str, *arguments: object, pipe: int | None = None) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])},
        stdin=pipe,
        stdout=pipe,
    )


def _size(note: Path) -> int:
    return note.stat().st_size if note.exists() else 0


def _wait_for_a_row(process: subprocess.Popen[bytes], note: Path, beyond: int = 0) -> None:
    deadline = time.monotonic() + _STARTS
    while _size(note) <= beyond:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError("a writer has written nothing")
        time.sleep(0.005)


def _look(path: Path, notes: Sequence[Path], counts: tuple[int, int, int], seconds: float) -> Result:
    # The last line may be cut: its row was acknowledged to nobody.
    acknowledged = {line for note in notes if note.exists() for line in note.read_text().split("\n")[:-1]}
    with Store(path) as store:
        records = {record.request.request_id: record for record in store.records()}
        integrity = store.integrity()
        notice = store.notice
    incomplete = sum(
        not (len(records[key].candidates) == len(records[key].events) == 1)
        for key in acknowledged & records.keys()
    )
    missing = len(acknowledged - records.keys())
    kills, reads, conversions = counts
    return Result(
        kills,
        len(acknowledged),
        missing,
        incomplete,
        integrity,
        reads,
        conversions,
        notice,
        round(seconds, 1),
    )


def main() -> None:
    """Print the result."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    mode = next(mode for mode in get_args(Mode) if mode == (sys.argv[2] if len(sys.argv) > 2 else "plain"))
    with tempfile.TemporaryDirectory() as folder:
        result = run(kills, Path(folder), mode)
    print(json.dumps(asdict(result)))
    sys.exit(bool(result.missing or result.incomplete or result.integrity != "ok"))


if __name__ == "__main__":
    main()
