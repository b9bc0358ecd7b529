"""The number of threads follows the speeds of answers, and does not dither."""

from __future__ import annotations

from collections.abc import Callable

from nl2code_model.host.threads import KEPT, REST, Threads


def answers(threads: Threads, speed: Callable[[int], float], count: int) -> list[int]:
    """Let so many answers be made, and return the changes."""
    changes = []
    for _ in range(count):
        threads.measured(32, 32 / speed(threads.now))
        if (better := threads.better()) is not None:
            threads.changed(better)
            changes.append(better)
    return changes


def quiet(threads: int) -> float:
    return {1: 27.0, 2: 42.0}[threads]


def crowded(threads: int) -> float:
    return {1: 19.0, 2: 9.6}[threads]


def test_on_a_quiet_machine_all_cores_compute() -> None:
    threads = Threads(2)
    assert answers(threads, quiet, 500) == []
    assert threads.now == 2


def test_beside_a_busy_neighbour_fewer_do_and_later_all_again() -> None:
    threads = Threads(2)
    answers(threads, quiet, 30)
    assert answers(threads, crowded, 2 * REST) == [1]
    changes = answers(threads, quiet, 6 * REST)
    assert changes[0] == 2
    assert threads.now == 2


def test_under_lasting_pressure_it_looks_now_and_then_and_comes_back() -> None:
    threads = Threads(2)
    answers(threads, quiet, 30)
    changes = answers(threads, crowded, 50 * REST)
    assert set(changes[::2]) == {1}
    assert len(changes) <= 50, "a change costs a second"


def test_a_few_slow_answers_and_short_ones_mean_nothing() -> None:
    threads = Threads(4)
    speeds = {4: 40.0, 3: 30.0}
    answers(threads, speeds.__getitem__, 30)
    for _ in range(KEPT // 2):
        threads.measured(32, 8.0)
    for _ in range(100):
        threads.measured(4, 4.0)
    assert threads.better() is None


def test_one_core_leaves_no_choice() -> None:
    threads = Threads(1)
    for speed in [30.0] * 30 + [3.0] * 30:
        threads.measured(32, 32 / speed)
        assert threads.better() is None
