"""`nl2code eval` from the command to the last line, with the real server and a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from fakes.endpoint import FakeEndpoint, Reply
from nl2code_model.cli import eval as command
from nl2code_model.evaluate import tasks
from nl2code_model.evaluate.chat import instruction_of
from nl2code_model.evaluate.client import Editor
from nl2code_model.evaluate.tasks import Anchor
from nl2code_model.evaluate.transplant import Case, case

# A comment, a method, a stub, statements, Chinese; and a project whose code wants an import.
SOME = ("clock", "box-weight", "second-price", "count-errors", "zh-pass-count", "text-save")
ANCHORS = {task.id: task for task in tasks.read() if isinstance(task, Anchor)}
HELLO = "def add(a, b):\n    return a + b"


def letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def answers(given: Callable[[Anchor], str]) -> Callable[[dict[str, Any]], str]:
    """Return a model that knows the tasks by their words."""
    known = {letters(instruction_of(case(ANCHORS[name])).text): ANCHORS[name] for name in SOME}

    def answer(body: dict[str, Any]) -> str:
        said = letters(body["messages"][-1]["content"])
        code = next((given(task) for text, task in known.items() if text in said), HELLO)
        return f"Here it is:\n\n```python\n{code}\n```\n\nIt does what you want, because it is right.\n"

    return answer


def reference(task: Anchor) -> str:
    return "\n".join([*task.imports, task.reference])


def evaluated(
    monkeypatch: pytest.MonkeyPatch, fake: FakeEndpoint, *arguments: str
) -> tuple[Result, dict[str, Any]]:
    monkeypatch.setenv("NL2CODE_ENDPOINT", fake.url)
    app = typer.Typer()
    command.register(app)
    done = CliRunner().invoke(app, ["eval", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done, json.loads(done.stdout.strip().rpartition("\n")[2])


def test_a_model_that_knows_all_answers_gets_all_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with FakeEndpoint(answers(reference)) as fake:
        arguments = ("--tasks", ",".join(SOME), "--baseline", "chat", "--output", str(output))
        done, data = evaluated(monkeypatch, fake, *arguments)
        for name, arm in data["arms"].items():
            assert (arm["tasks"], arm["pass@1"], arm["offered"], arm["parses"]) == (len(SOME), 1, 1, 1), name
        ours, chat = data["arms"]["nl2code"], data["arms"]["chat"]
        assert ours["unasked"] == 1
        assert ours["verified"] == pytest.approx(2 / 6, abs=1e-4)
        # It says goodbye at length: the product stops it there.
        assert 0 < ours["tokens"] < chat["tokens"]
        assert (ours["answers"], ours["invented"], ours["undefined"]) == (1, 0, 0)
        pair = data["pairs"]["nl2code / chat"]
        assert (pair["tasks"], pair["gained"], pair["lost"], pair["p"]) == (6, 0, 0, 1)
        assert "pass@1" in done.stdout
        assert "12/12, 0:00 left" in done.stderr

        records = [json.loads(line) for line in output.read_text().splitlines()]
        assert [one["passed"] for one in records] == [True] * 12
        assert {one["model"] for one in records} == {"fake-model"}
        assert {one["conditions"]["endpoint"] for one in records} == {"given"}
        assert data["warnings"] == []
        for one in records:
            made = one.get("candidates")
            if one["arm"] == "nl2code":
                assert one["rebuilt"], one["id"]
                assert [(each["origin"], each["rank"], each["passed"]) for each in made] == [
                    ("greedy", 0, True)
                ]
                assert one["holds"] in ((True,) if one["example"] else (None,))
            else:
                assert made is None
        # Nothing was gained, and each stage says so; what is said after the code is the chat's alone.
        assert [row["passed"] for row in pair["gain"]] == [6] * 6
        assert ours["early_stop"]["tokens_after"] < chat["early_stop"]["tokens_after"] / 3
        assert "Where the gain comes from" in done.stdout
        assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 100

        # All there: nothing is asked again. Half a line, as a run leaves that is killed, is done again.
        asked = len(fake.chats)
        again, data_again = evaluated(monkeypatch, fake, *arguments)
        assert (len(fake.chats), data_again, again.stderr) == (asked, data, "")
        lines = output.read_text().splitlines(keepends=True)
        output.write_text("".join(lines[:-1]) + lines[-1][:40])
        evaluated(monkeypatch, fake, *arguments)
        assert len(output.read_text().splitlines()) == 12
        assert json.loads(output.read_text().splitlines()[-1])["id"] == records[-1]["id"]


def test_a_model_that_is_always_wrong_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(task: Anchor) -> str:
        return reference(task).replace("return", "return None and").replace("sum(", "id(")

    with FakeEndpoint(answers(wrong)) as fake:
        _, data = evaluated(
            monkeypatch, fake, "--tasks", "clock,second-price,zh-pass-count", "--baseline", "chat"
        )
    ours = data["arms"]["nl2code"]
    assert (ours["pass@1"], data["arms"]["chat"]["pass@1"]) == (0, 0)
    # Two fail the example that is shown, so they are offered on request alone; one has no example.
    assert (ours["offered"], ours["unasked"], ours["verified"]) == (1, pytest.approx(1 / 3, abs=1e-4), 0)
    assert ours["answers"] > 1
    assert ours["hidden"] == 0
    assert (ours["failed_unasked"], ours["wrong_unasked"]) == (0, 0)


def test_a_baseline_can_be_made_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chats, output = tmp_path / "chats.jsonl", tmp_path / "out.jsonl"
    two = ("--tasks", "clock,second-price", "--baseline", "chat")
    with FakeEndpoint(answers(reference)) as fake:
        _, alone = evaluated(monkeypatch, fake, *two, "--baseline-only", "--output", str(chats))
        assert list(alone["arms"]) == ["chat"]
        kept = chats.read_bytes()
        _, both = evaluated(monkeypatch, fake, *two, "--earlier", str(chats), "--output", str(output))
        assert chats.read_bytes() == kept
        assert [json.loads(line)["arm"] for line in output.read_text().splitlines()] == ["nl2code"] * 2
        assert both["pairs"]["nl2code / chat"]["tasks"] == 2
        assert "the arms were not timed in the same run" in both["warnings"]
        # A record as older versions wrote them is as good; one of a task that has changed since is not.
        rows = [json.loads(line) for line in kept.decode().splitlines()]
        for name in ("task", "conditions", "holds", "tokens_chosen"):
            del rows[0][name]
        rows[1]["task"] = "another"
        chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
        _, both = evaluated(monkeypatch, fake, *two, "--baseline-only", "--output", str(chats))
    assert both["arms"]["chat"]["tasks"] == 2
    again = [json.loads(line) for line in chats.read_text().splitlines()]
    assert [row["id"] for row in again] == [rows[0]["id"], rows[1]["id"], rows[1]["id"]]
    assert "task" not in again[0]


def test_a_chat_that_does_not_answer_in_time_costs_one_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nl2code_model.evaluate.run.PATIENCE", 0.2)

    def slow(body: dict[str, Any]) -> Reply:
        said = answers(reference)(body)
        return Reply(text=said, header_delay=9.0 if "clock" in said else 0.0)

    output = tmp_path / "out.jsonl"
    with FakeEndpoint(slow) as fake:
        arguments = ("--tasks", "clock,second-price", "--baseline", "chat", "--baseline-only")
        _, data = evaluated(
            monkeypatch, fake, *arguments, "--with", "request_timeout=5", "--output", str(output)
        )
    assert (data["arms"]["chat"]["tasks"], data["arms"]["chat"]["passed"]) == (2, 1)
    first = json.loads(output.read_text().splitlines()[0])
    assert (first["offered"], first["seconds"]) == (False, 1.0)
    assert "did not answer within 1 s" in first["why"]


@pytest.mark.parametrize(
    ("options", "traits"),
    [
        (("--kind", "web", "--project"), [("web", "en", True)]),
        (
            ("--language", "zh", "--language", "de", "--kind", "stub", "--single-file"),
            [("stub", "de", False), ("stub", "zh", False)],
        ),
    ],
)
def test_tasks_are_chosen_by_what_they_are(
    options: tuple[str, ...], traits: list[tuple[str, str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Case] = []

    def none_run(cases: list[Case], *_: Any, **__: Any) -> list[dict[str, Any]]:
        chosen.extend(cases)
        return []

    monkeypatch.setattr("nl2code_model.evaluate.run.run", none_run)
    with FakeEndpoint(answers(reference)) as fake:
        evaluated(monkeypatch, fake, *options)
    assert sorted({(one.kind, one.natural_language, one.project) for one in chosen}) == traits


def test_a_server_that_dies_costs_one_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = Editor.open

    def dying(self: Editor, path: Path, text: str) -> None:
        opened(self, path, text)
        if "clock" in path.parts:
            self._process.kill()

    monkeypatch.setattr(Editor, "open", dying)
    output = tmp_path / "out.jsonl"
    with FakeEndpoint(answers(reference)) as fake:
        _, data = evaluated(monkeypatch, fake, "--tasks", "clock,second-price", "--output", str(output))
    assert (data["arms"]["nl2code"]["pass@1"], data["arms"]["nl2code"]["offered"]) == (0.5, 0.5)
    first, second = (json.loads(line) for line in output.read_text().splitlines())
    assert (first["id"], first["passed"], second["passed"]) == ("clock", False, True)
    assert "language server has ended" in first["why"]


def test_two_configurations_take_part_on_the_same_tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {
            "task_id": number,
            "text": f"Write a function to add {number} to a number.",
            "code": f"def plus_{number}(x):\n    return x + {number}",
            "test_list": [f"assert plus_{number}(1) == {number + 1}", f"assert plus_{number}(0) == {number}"],
        }
        for number in (2, 3, 4)
    ]
    path = tmp_path / "mbpp.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    def answer(body: dict[str, Any]) -> str:
        """Answer by what is asked for first; wrong by one, but when an explanation is asked for."""
        said = body["messages"][-1]["content"]
        number = next((n for n in (2, 3, 4) if f"plus_{n}" in said), 0)
        given = number + ("step by step" not in said)
        return f"```python\ndef plus_{number}(x):\n    return x + {given}\n```\n"

    with FakeEndpoint(answer) as fake:
        _, data = evaluated(
            monkeypatch,
            fake,
            str(path),
            "--limit",
            "2",
            "--against",
            "verify=false",
            "--form",
            "crlf",
            "--json",
        )
    assert list(data["arms"]) == ["nl2code", "nl2code verify=false"]
    ours, without = data["arms"].values()
    assert (ours["tasks"], ours["pass@1"], ours["hidden"], ours["verified"]) == (2, 1, 1, 1)
    assert (without["pass@1"], without["verified"], without["offered"]) == (0, 0, 1)
    assert (ours["answers"], without["answers"]) == (2, 1)
    assert data["pairs"]["nl2code / nl2code verify=false"]["gained"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tasks", "nothing"), "no task nothing"),
        (("--form", "nowhere"), "nowhere"),
        (("--form", "class"), "places of their own"),
        (("--with", "candidates"), "SETTING=VALUE"),
        (("--baseline", "guess"), "guess"),
        (("--baseline-only",), "takes --baseline"),
        (("--kind", "poem"), "no task poem"),
        (("--language", "la"), "no task la"),
        (("--kind", "web", "--language", "ja"), "no task is left"),
        (("--with", "verify=true", "--against", "verify=true"), "the same"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], said: str) -> None:
    app = typer.Typer()
    command.register(app)
    done = CliRunner().invoke(app, ["eval", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("setting", "said"),
    [("speed=1", "no setting speed"), ("candidates=99", "1 to 8"), ("feedback=off", "feedback")],
)
def test_settings_that_do_not_exist_are_told(setting: str, said: str) -> None:
    app = typer.Typer()
    command.register(app)
    done = CliRunner().invoke(app, ["eval", "--tasks", "clock", "--with", setting])
    assert said in str(done.exception)
