"""From instruction to suggestion against a scripted endpoint: the pipeline without an editor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.config import Settings
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.splice import apply
from nl2code_server.suggest import Job, Outcome
from nl2code_server.suggest.explain import explain
from nl2code_server.suggest.pipeline import Suggester
from nl2code_server.suggest.sandbox import Result, Sandbox
from nl2code_server.suggest.tries import MOST
from nl2code_server.suggest.verdict import verdict

GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
WRONG = "def gcd(a, b):\n    return a * b\n"
COMMENT = "# write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"


@asynccontextmanager
async def suggesting(fake: FakeEndpoint, **settings: Any) -> AsyncIterator[Suggester]:
    suggester = Suggester(Settings(endpoint=fake.url, **settings), None, session_id="s")
    try:
        yield suggester
    finally:
        await suggester.close()


def job(text: str, row: int = 0, **details: Any) -> Job:
    snapshot = Snapshot.from_text(text, uri="file:///x.py")
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    return Job(snapshot, found, **details)


def result(outcome: Outcome) -> str:
    return apply(outcome.snapshot, outcome.suggestions[0].edits)


@pytest.mark.parametrize("prefill", [True, False])
async def test_a_verified_function(prefill: bool) -> None:
    answer = GCD + "```\nIt uses Euclid." if prefill else f"Sure!\n\n```python\n{GCD}```\nIt uses Euclid."
    with FakeEndpoint([answer], owned_by="nl2code" if prefill else "fake") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
    assert result(outcome) == f"{COMMENT}\n{GCD.rstrip()}"
    best = outcome.suggestions[0]
    assert best.status == "verified"
    assert [(run.call, run.got) for run in best.examples] == [("gcd(12, 18)", "6")]
    assert "Euclid" not in outcome.trace.raw[0]  # stopped before the model explains itself


async def test_a_failed_example_leads_to_another_try() -> None:
    with FakeEndpoint([f"{WRONG}```", f"{GCD}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
        assert [chat.body["temperature"] for chat in fake.chats] == [0.0, 0.0]
    assert [found.status for found in outcome.suggestions] == ["verified", "failed"]
    failed = outcome.suggestions[1].examples[0]
    assert (failed.expected, failed.got, failed.ok) == ("6", "216", False)


async def test_what_only_fails_is_marked() -> None:
    with FakeEndpoint([f"{WRONG}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
            tries = len(fake.chats)
    assert [found.status for found in outcome.suggestions] == ["failed"]
    assert 1 < tries <= 5


async def test_nothing_that_breaks_the_file_is_offered() -> None:
    with FakeEndpoint(["def gcd(a, b:\n    return a\n```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
    assert outcome.suggestions == ()
    assert "no usable answer" in outcome.reason
    assert "no usable answer" in explain(outcome.trace)


async def test_prose_is_not_code() -> None:
    with FakeEndpoint(["I am sorry, I cannot help with that."]) as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job("# write a poem"))
    assert outcome.suggestions == ()


async def test_missing_imports_come_with_it() -> None:
    text = '"""A module."""\n\nimport os\n\n# return the square root of x\n'
    answer = "def root(x):\n    return math.sqrt(x)\n```"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(text, 4))
    assert outcome.suggestions[0].imports == ("import math",)
    assert "import math\n" in result(outcome)
    compile(result(outcome), "x", "exec")


async def test_an_unknown_name_is_not_offered_as_valid() -> None:
    with FakeEndpoint(["total = frobnicate(1)\n```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job("# compute the total\n"))
    assert [found.status for found in outcome.suggestions] == ["failed"]
    assert any("frobnicate" in check.detail for check in outcome.suggestions[0].checks)


async def test_a_model_in_a_loop_is_stopped() -> None:
    with FakeEndpoint(["x = 1\n" * 4000], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job("# set x to one\n"))
    assert outcome.suggestions == ()
    assert outcome.tokens < 500


async def test_the_same_prompt_is_asked_once() -> None:
    with FakeEndpoint([f"{GCD}```"], owned_by="nl2code", token_delay=0.005) as fake:
        async with suggesting(fake) as suggester:
            one, two = await asyncio.gather(suggester.suggest(job(COMMENT)), suggester.suggest(job(COMMENT)))
            three = await suggester.suggest(job(COMMENT))
            assert len(fake.chats) == 1
            again = await suggester.suggest(job(COMMENT, fresh=True))
            assert len(fake.chats) == 2
    assert one.suggestions[0].id == two.suggestions[0].id == three.suggestions[0].id
    assert again.suggestions[0].id != one.suggestions[0].id


async def test_a_result_is_fitted_to_the_file_as_it_is_now() -> None:
    with FakeEndpoint([f"{GCD}```"], owned_by="nl2code") as fake:
        async with suggesting(fake, context_tokens=1) as suggester:
            await suggester.suggest(job(COMMENT))
            moved = await suggester.suggest(job(f"x = 1\n\n{COMMENT}", 2))
            assert len(fake.chats) == 1
    assert result(moved) == f"x = 1\n\n{COMMENT}\n{GCD.rstrip()}"


async def test_cancelling_closes_the_stream() -> None:
    with FakeEndpoint([GCD * 50], owned_by="nl2code", token_delay=0.02) as fake:
        async with suggesting(fake) as suggester:
            task = asyncio.create_task(suggester.suggest(job("# write many functions\n")))
            await asyncio.sleep(0.4)
            assert fake.chats[0].tokens_sent > 0
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(fake.chats[0].disconnected.wait, 2)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=401), "401"),
        (Reply(text=GCD, cut_after=2), ""),
        (Reply(body="<html>", content_type="text/html"), ""),
    ],
)
async def test_a_failing_endpoint_is_a_reason_not_an_exception(reply: Reply, said: str) -> None:
    with FakeEndpoint([reply], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
    assert outcome.suggestions == ()
    assert outcome.reason
    assert said in outcome.reason


async def test_secrets_stay_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "AKIA" + "Q7RTZ3XW5LMNB2VC"
    text = f"key = '{secret}'\n\n# print the key, not {secret}\n"
    with FakeEndpoint(["print(key)\n```"], owned_by="nl2code") as fake:
        async with suggesting(fake, feedback="off") as suggester:
            await suggester.suggest(job(text, 2))
            assert secret in str(
                fake.chats[0].body
            )  # the control: a loopback endpoint sees the file as it is
            monkeypatch.setattr("nl2code_server.suggest.attempt.is_loopback", lambda host: False)
            await suggester.suggest(job(text, 2, fresh=True))
            assert secret not in str(fake.chats[1].body)
            assert "print the key" in str(fake.chats[1].body)


async def test_a_failure_on_a_later_try_keeps_the_earlier_answer() -> None:
    with FakeEndpoint([f"{WRONG}```", Reply(status=503)], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
    assert [found.status for found in outcome.suggestions] == ["failed"]
    assert outcome.failure is not None


async def test_nobody_there() -> None:
    suggester = Suggester(Settings(endpoint="http://127.0.0.1:9/v1"), None, session_id="s")
    outcome = await suggester.suggest(job(COMMENT))
    await suggester.close()
    assert outcome.suggestions == ()
    assert "127.0.0.1:9" in outcome.reason


async def test_an_example_of_a_method_runs_against_its_class() -> None:
    text = (
        "class Stack:\n    def __init__(self):\n        self.items = [1, 2]\n\n"
        "    # return how many items there are, e.g. Stack().size() == 2\n"
    )
    answer = "    def size(self):\n        return len(self.items)\n```"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(text, 4))
    assert outcome.suggestions[0].status == "verified"
    assert result(outcome).endswith("== 2\n    def size(self):\n        return len(self.items)\n")


@pytest.mark.parametrize(
    "elsewhere",
    [
        "x = (\n\n\n",
        "def broken(:\n    return\n\n\n",
        "try:\n    pass\nexcept ValueError, KeyError:\n    pass\n\n\n",  # 3.14
        "name = t'{x!r}'\n\n\n",  # 3.14
        "def generic[T: int = bool](x: T) -> T:\n    return x\n\n\n",  # 3.13
        'print "old"\n\n\n',
    ],
)
async def test_a_file_that_this_python_cannot_read_still_gets_suggestions(elsewhere: str) -> None:
    text = elsewhere + COMMENT + "\n"
    with FakeEndpoint([f"{GCD}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(text, text.count("\n") - 1))
    assert outcome.suggestions[0].status in ("verified", "valid")
    assert result(outcome) == text + GCD


async def test_wrong_answers_lead_to_a_repair_that_is_told_what_is_wrong() -> None:
    replies = [f"{WRONG}```", f"{WRONG.replace('*', '+')}```", f"{WRONG.replace('*', '-')}```", f"{GCD}```"]
    with FakeEndpoint(replies, owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
        sample, repair = (fake.chats[number].body["messages"] for number in (2, 3))
    assert sample[-1]["content"].endswith("```python\ndef gcd")
    assert sample[-2]["content"].endswith("with examples.")
    assert [message["role"] for message in repair] == ["system", "user", "assistant", "user", "assistant"]
    assert "return a * b" in repair[2]["content"]
    assert "`gcd(12, 18)` must give `6`, not end in `216`" in repair[3]["content"]
    assert repair[4]["content"].endswith("def gcd")
    assert [found.status for found in outcome.suggestions] == ["verified", "failed", "failed", "failed"]
    assert [stage for stage, _ in outcome.trace.stages if "(" in stage] == [
        "trying again (2)",
        "trying again (3)",
        "repairing (4)",
    ]


async def test_the_same_wrong_program_is_not_run_again_and_ends_the_search() -> None:
    again = "def gcd(a, b):\n    # the product\n    return a * b\n"
    runs = 0
    with FakeEndpoint([f"{WRONG}```", f"{again}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            assert suggester.sandbox is not None
            inner = suggester.sandbox.run

            async def counting(*args: Any, **details: Any) -> Any:
                nonlocal runs
                runs += 1
                return await inner(*args, **details)

            suggester.sandbox.run = counting  # type: ignore[method-assign]
            outcome = await suggester.suggest(job(COMMENT))
            assert len(fake.chats) == 4
    assert runs == 1
    assert [found.status for found in outcome.suggestions] == ["failed"]
    assert len(outcome.trace.examples) == 4
    assert all(runs[0].got == "216" for runs in outcome.trace.examples)


async def test_an_answer_that_was_wrong_before_is_not_heard_to_its_end() -> None:
    tail = "\n" * 200
    with FakeEndpoint([f"{WRONG}```", f"{WRONG}{tail}"], owned_by="nl2code", token_delay=0.002) as fake:
        async with suggesting(fake) as suggester:
            await suggester.suggest(job(COMMENT))
        assert fake.chats[1].tokens_sent < 30


@pytest.mark.parametrize(
    ("budget", "most"), [({"budget_tokens": 30}, 2), ({"budget_seconds": 1}, 3), ({"budget_tokens": 0}, MOST)]
)
async def test_budgets_end_the_search(budget: dict[str, int], most: int) -> None:
    numbers = iter(range(100))

    def reply(body: Any) -> Reply:
        return Reply(text=f"def gcd(a, b):\n    return {100 + next(numbers)}\n```", token_delay=0.05)

    with FakeEndpoint(reply, owned_by="nl2code") as fake:
        async with suggesting(fake, **budget) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
            assert len(fake.chats) <= most
    assert [found.status for found in outcome.suggestions][:1] == ["failed"]
    assert len(outcome.trace.raw) == len(fake.chats)


async def test_without_the_sandboxs_worker_the_state_is_valid(tmp_path: Path) -> None:
    with FakeEndpoint([f"{WRONG}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            suggester.sandbox = Sandbox(binary=tmp_path / "missing")
            outcome = await suggester.suggest(job(COMMENT))
            assert len(fake.chats) == 1
    best = outcome.suggestions[0]
    assert best.status == "valid"
    assert verdict(best).startswith("valid: not verified, the sandbox does not start")


async def test_a_worker_that_dies_leaves_it_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    async def died(self: Sandbox, code: str, expressions: list[str], *, limits: Any = None) -> Any:
        return (Result("unrunnable", "the sandbox's process died"),) * len(expressions)

    monkeypatch.setattr(Sandbox, "run", died)
    with FakeEndpoint([f"{WRONG}```"], owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job(COMMENT))
    assert outcome.suggestions[0].status == "valid"
    assert verdict(outcome.suggestions[0]) == "valid: not verified, the sandbox's process died"


async def test_alternatives_that_agree_come_first() -> None:
    replies = [
        "def total(numbers):\n    return len(numbers)\n```",
        "def total(numbers):\n    return sum(numbers)\n```",
        "def total(numbers):\n    n = 0\n    for number in numbers:\n        n += number\n    return n\n```",
    ]
    with FakeEndpoint(replies, owned_by="nl2code") as fake:
        async with suggesting(fake) as suggester:
            outcome = await suggester.suggest(job("# write a function that adds up numbers\n", candidates=3))
    assert [found.status for found in outcome.suggestions] == ["valid"] * 3
    assert "len(" in outcome.suggestions[2].code
    assert "comparing" in [stage for stage, _ in outcome.trace.stages]
