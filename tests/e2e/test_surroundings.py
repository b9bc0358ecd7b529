"""What a project gives to a suggestion: to the prompt that the endpoint receives, to the file that comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.door import MARK, door
from fakes.endpoint import FakeEndpoint
from nl2code_server.config import Settings
from nl2code_server.feedback.events import EventKind, EventRow
from nl2code_server.feedback.log import FeedbackLog
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.splice import apply
from nl2code_server.suggest import Job, Outcome
from nl2code_server.suggest.pipeline import Suggester
from nl2code_server.suggest.project import Index, Project

MODELS = """\
from dataclasses import dataclass


@dataclass
class Item:
    name: str
    price_cents: int
"""
MONEY = 'def format_cents(cents):\n    """Return an amount as people read it."""\n    return f"{cents} EUR"\n'
COMMENT = "# write a function label(item) that gives the name of an Item and its price, with format_cents\n"
ANCHORS = Path(__file__).parents[2] / "model" / "nl2code_model" / "evaluate" / "anchors.jsonl"
ANSWER = 'def label(item):\n    return f"{item.name}: {format_cents(item.price_cents)}"\n```'


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nl2code_server.suggest.surroundings.PATIENCE", 20.0)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def job(root: Path, text: str, name: str = "labels.py") -> Job:
    snapshot = Snapshot.from_text(text, uri=(root / name).as_uri())
    row = next(row for row, line in enumerate(text.splitlines()) if line.lstrip().startswith("# "))
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    return Job(snapshot, found)


@asynccontextmanager
async def suggesting(
    fake: FakeEndpoint, root: Path, store: FeedbackLog | None = None, **settings: Any
) -> AsyncIterator[Suggester]:
    opened = settings.pop("opened", dict)
    suggester = Suggester(
        Settings(endpoint=fake.url, **settings), store, session_id="s", project=str(root), opened=opened
    )
    try:
        yield suggester
    finally:
        await suggester.close()


def sent(fake: FakeEndpoint) -> str:
    """Return the last prompt that the endpoint received, repairs apart, which repeat the answer."""
    prompts = [[message["content"] for message in chat.body["messages"]] for chat in fake.chats]
    return str([prompt for prompt in prompts if "That is wrong" not in str(prompt)][-1])


def result(outcome: Outcome) -> str:
    return apply(outcome.snapshot, outcome.suggestions[0].edits)


async def test_what_the_project_defines_is_shown_and_its_import_added(tmp_path: Path) -> None:
    write(tmp_path, {"models.py": MODELS, "money.py": MONEY, "labels.py": ""})
    text = f"from models import Item\n\n{COMMENT}"
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            outcome = await suggester.suggest(job(tmp_path, text))
        assert "price_cents: int" in sent(fake)
        assert "def format_cents(cents):" in sent(fake)
        assert "return f" not in sent(fake)
    best = outcome.suggestions[0]
    assert best.status == "valid"
    assert best.imports == ("from money import format_cents",)
    assert result(outcome).startswith("from models import Item\nfrom money import format_cents\n")


@pytest.mark.parametrize(("context", "seen"), [("file", True), ("none", False)])
async def test_the_user_decides_how_far_the_model_sees(tmp_path: Path, context: str, seen: bool) -> None:
    write(tmp_path, {"models.py": MODELS, "money.py": MONEY})
    text = f"from models import Item\n\nNAMES = 3\n\n{COMMENT}"
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path, context=context) as suggester:
            outcome = await suggester.suggest(job(tmp_path, text))
        assert "format_cents(cents)" not in sent(fake)
        assert "price_cents" not in sent(fake)
        assert ("NAMES" in sent(fake)) is seen
    assert outcome.suggestions[0].imports == ()


async def test_a_method_keeps_its_class_without_context(tmp_path: Path) -> None:
    text = "class Box:\n    size = 3\n\n    # write a method double that returns twice the size\n"
    answer = "    def double(self):\n        return 2 * self.size\n```"
    with FakeEndpoint([answer], owned_by="nl2code", prefill=True) as fake:
        async with suggesting(fake, tmp_path, context="none") as suggester:
            outcome = await suggester.suggest(job(tmp_path, text))
        assert "class Box" in sent(fake)
        assert "size = 3" not in sent(fake)
    assert outcome.suggestions[0].status == "valid"


async def test_nothing_is_read_without_a_workspace_or_outside_of_it(tmp_path: Path) -> None:
    write(tmp_path, {"models.py": MODELS, "work/x.py": ""})
    text = f"from models import Item\n\n{COMMENT}"
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        for root in ("", tmp_path / "work"):
            suggester = Suggester(Settings(endpoint=fake.url), None, session_id="s", project=str(root))
            await suggester.suggest(job(tmp_path, text))
            await suggester.close()
            assert "price_cents" not in sent(fake)


async def test_an_open_editor_goes_before_the_disk(tmp_path: Path) -> None:
    write(tmp_path, {"models.py": MODELS})
    edited = MODELS.replace("price_cents", "price_pennies")
    uri = (tmp_path / "models.py").as_uri()
    text = f"from models import Item\n\n{COMMENT}"
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        opened = {uri: Snapshot.from_text(edited, uri=uri)}
        async with suggesting(fake, tmp_path, opened=lambda: opened) as suggester:
            await suggester.suggest(job(tmp_path, text))
        assert "price_pennies" in sent(fake)
        assert "price_cents" not in sent(fake)


async def test_the_server_knows_its_workspace_and_its_editors(tmp_path: Path) -> None:
    write(tmp_path, {"models.py": MODELS, "labels.py": ""})
    folder = {"uri": tmp_path.as_uri(), "name": "work"}
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        async with door(fake, workspaceFolders=[folder], rootUri=tmp_path.as_uri()) as editor:
            models = (tmp_path / "models.py").as_uri()
            editor.client.open(models, MODELS.replace("price_cents", "price_pennies"))
            editor.uri = (tmp_path / "labels.py").as_uri()
            marked = f"from models import Item\n\n{COMMENT.rstrip()}{MARK}\n"
            while "price_pennies" not in (sent(fake) if fake.chats else ""):
                # A busy machine may take longer to read the disk than a first request waits.
                await editor.offered(marked)
                marked = marked.replace("write a", "please write a")
                assert len(fake.chats) < 8
        assert "price_cents" not in sent(fake)


async def test_names_that_the_project_lacks_and_packages_that_are_not_there_are_not_valid(
    tmp_path: Path,
) -> None:
    site = tmp_path / ".venv" / "lib" / "python3.12" / "site-packages"
    write(tmp_path, {"money.py": MONEY, ".venv/pyvenv.cfg": ""})
    site.mkdir(parents=True)
    wrong = "from money import show_cents\n\ndef label(item):\n    return show_cents(item)\n```"
    absent = "import moneylib\n\ndef label(item):\n    return moneylib.show(item)\n```"
    text = f"import money\n\n{COMMENT}"
    with FakeEndpoint([wrong, absent, ANSWER], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            outcome = await suggester.suggest(job(tmp_path, text))
    assert outcome.suggestions[0].status == "valid"
    assert "format_cents" in outcome.suggestions[0].code
    details = [check.detail for checks in outcome.trace.checks for check in checks if not check.ok]
    assert "not in the project: money.show_cents" in details
    assert "not installed in the project's environment: moneylib" in details


async def test_a_package_is_not_refused_where_no_environment_is_known(tmp_path: Path) -> None:
    answer = "import moneylib\n\ndef label(item):\n    return moneylib.show(item)\n```"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            outcome = await suggester.suggest(job(tmp_path, COMMENT))
    assert outcome.suggestions[0].status == "valid"
    assert any("moneylib" in check.detail for check in outcome.suggestions[0].checks)


async def test_an_old_python_is_told_to_the_model_and_newer_syntax_refused(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": '[project]\nrequires-python = ">=3.8"\n'})
    new = "def label(item):\n    match item:\n        case _:\n            return 1\n```"
    with FakeEndpoint([new, "def label(item):\n    return 1\n```"], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            outcome = await suggester.suggest(job(tmp_path, COMMENT))
        assert "Python 3.8" in str(fake.chats[0].body)
    assert [found.status for found in outcome.suggestions] == ["valid", "failed"]
    details = [check.detail for check in outcome.suggestions[1].checks if not check.ok]
    assert details == ["`match` needs Python 3.10; the project supports 3.8"]


async def test_the_files_quotes_are_used(tmp_path: Path) -> None:
    text = f"ONE = 'a'\nTWO = 'b'\nTHREE = 'c'\n\n\n{COMMENT}"
    answer = 'def label(item):\n    return "x" + "it\'s"\n```'
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            outcome = await suggester.suggest(job(tmp_path, text))
    assert outcome.suggestions[0].code == "def label(item):\n    return 'x' + \"it's\""


@asynccontextmanager
async def log(tmp_path: Path, level: str = "full") -> AsyncIterator[FeedbackLog]:
    feedback = FeedbackLog(tmp_path / "log" / "feedback.db", level=level)
    try:
        yield feedback
    finally:
        await feedback.close()


async def accept(
    feedback: FeedbackLog, outcome: Outcome, kind: EventKind = "accepted", **details: Any
) -> None:
    best = outcome.suggestions[0]
    row = EventRow(
        event=kind,
        suggestion_id=best.id,
        request_id=best.request_id,
        source="client",
        time=time.time(),
        **details,
    )
    feedback.record_event(row)


@pytest.mark.parametrize(
    ("same", "level", "seen"), [(True, "full", True), (False, "full", False), (True, "no-code", False)]
)
async def test_what_was_accepted_in_this_project_is_shown_and_nothing_of_another(
    tmp_path: Path, same: bool, level: str, seen: bool
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, {"labels.py": ""})
    write(other, {"labels.py": ""})
    first = "# write a function that formats the price of an item as euros\n"
    second = "# write a function that formats the prices of all items as euros\n"
    answer = "def euros(item):\n    return f'{item.price} EUR'\n```"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with log(tmp_path, level) as store, suggesting(fake, one, store, feedback=level) as suggester:
            await accept(store, await suggester.suggest(job(one, first)))
        root = one if same else other
        async with log(tmp_path, level) as store, suggesting(fake, root, store, feedback=level) as suggester:
            await suggester.suggest(job(root, second))
    assert ("{item.price} EUR" in sent(fake)) is seen
    assert ("formats the price of an item" in sent(fake)) is seen


async def test_what_the_user_made_of_it_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "one"
    write(root, {"labels.py": ""})
    first = "# write a function that formats the price of an item as euros\n"
    answer = "def euros(item):\n    return f'{item.price} EUR'\n```"
    edited = "def euros(item):\n    return f'€ {item.price}'"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with log(tmp_path) as feedback:
            async with suggesting(fake, root, feedback) as suggester:
                outcome = await suggester.suggest(job(root, first))
            await accept(feedback, outcome)
            await accept(feedback, outcome, "edited", kept_ratio=0.9, final_text=edited)
        async with log(tmp_path) as feedback, suggesting(fake, root, feedback) as suggester:
            await suggester.suggest(job(root, first.replace("item", "book")))
    assert "€ {item.price}" in sent(fake)
    assert "{item.price} EUR" not in sent(fake)


async def test_a_slow_disk_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nl2code_server.suggest.surroundings.PATIENCE", 0.05)
    write(tmp_path, {"models.py": MODELS})
    slow = Project.index

    def index(self: Project) -> Index:
        time.sleep(1.5)
        return slow(self)

    monkeypatch.setattr(Project, "index", index)
    with FakeEndpoint([ANSWER], owned_by="nl2code") as fake:
        async with suggesting(fake, tmp_path) as suggester:
            await suggester.suggest(job(tmp_path, COMMENT))
            assert "price_cents" not in str(fake.chats[0].body)
            monkeypatch.setattr("nl2code_server.suggest.surroundings.PATIENCE", 20.0)
            await suggester.suggest(job(tmp_path, COMMENT))
            assert "price_cents" in sent(fake)


async def test_no_reference_solution_of_a_project_is_refused(tmp_path: Path) -> None:
    refused = {}
    tasks = [json.loads(line) for line in ANCHORS.read_text(encoding="utf-8").splitlines()]
    with FakeEndpoint() as fake:
        for task in (task for task in tasks if task["project"]):
            root = tmp_path / task["id"]
            write(root, task["files"])
            text = task["files"][task["target"]]
            snapshot = Snapshot.from_text(text, uri=(root / task["target"]).as_uri())
            found = at(snapshot, task["line"], attention="invoked")
            assert found is not None
            fake.replies = [f"```python\n{task['reference']}\n```"]
            async with suggesting(fake, root) as suggester:
                outcome = await suggester.suggest(Job(snapshot, found))
            checks = outcome.trace.checks[0]
            if not outcome.suggestions or outcome.suggestions[0].status == "failed":
                refused[task["id"]] = [check for check in checks if not check.ok]
    assert refused == {}


async def test_a_long_copy_of_what_was_accepted_anywhere_is_told(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, {"labels.py": ""})
    write(other, {"labels.py": ""})
    lines = "".join(f"    total += items[{n}] * {n}\n" for n in range(40))
    answer = f"def total(items):\n    total = 0\n{lines}    return total\n```"
    with FakeEndpoint([answer], owned_by="nl2code") as fake:
        async with log(tmp_path) as store:
            async with suggesting(fake, one, store) as suggester:
                first = await suggester.suggest(job(one, "# write a function that adds weighted items\n"))
            assert not [check for check in first.suggestions[0].checks if check.check == "copy"]
            await accept(store, first)
        async with log(tmp_path) as store, suggesting(fake, other, store) as suggester:
            outcome = await suggester.suggest(job(other, "# write a function for quite another thing\n"))
    asked = next(body for chat in fake.chats if "quite another thing" in (body := json.dumps(chat.body)))
    assert "items[7]" not in asked, "it is a copy of what was not shown"
    (told,) = [check.detail for check in outcome.suggestions[0].checks if check.check == "copy"]
    assert int(told.split()[0]) >= 300 and "accepted before" in told
