"""`nl2code eval-detector` counts what fires in files that ask for nothing, and the requests that are missed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nl2code_model.cli import eval_detector
from nl2code_model.evaluate import detect
from nl2code_server.errors import Nl2CodeError

QUIET = '''"""A module."""
import os  # for the path

# Where things are.
HOME = os.curdir


def save():
    # nothing to do
    pass


class Empty:
    """Return the empty set."""

    def show(self): ...
'''
ASKING = "import os\n\n# write a function that lists the files of a folder\n\nx = 1\n# sort the rows\ny = 2\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "deep" / "site-packages").mkdir(parents=True)
    (folder / "quiet.py").write_text(QUIET)
    (folder / "deep" / "asking.py").write_text(ASKING)
    (folder / "deep" / "site-packages" / "other.py").write_text(ASKING)
    (folder / "latin.py").write_bytes(b"# \xe9crire\n")
    return folder


def test_scan_counts_own_line_blocks_and_what_fires(files: Path) -> None:
    folder = detect.scan("files", files)
    assert (folder.files, folder.skipped) == (2, 1)
    assert (folder.own_line, folder.fired) == (4, 1)
    assert [(hit.file, hit.line, hit.text) for hit in folder.hits] == [
        ("deep/asking.py", 3, "write a function that lists the files of a folder")
    ]
    assert folder.at_cursor > folder.fired


@pytest.mark.parametrize("place", detect.PLACES)
@pytest.mark.parametrize("text", ["write a function that adds two numbers", "two\nlines"])
def test_places_are_python_and_hold_the_comment(text: str, place: str) -> None:
    file = detect.in_place(text, place)
    compile(file, place, "exec", dont_inherit=True)
    assert [line.strip() for line in file.split("\n") if "#" in line] == [
        f"# {one}" for one in text.split("\n")
    ]


def test_recall_counts_each_in_its_place() -> None:
    row = detect.recall([detect.Request("sort the rows by name", "body"), detect.Request("users", "class")])
    assert row["requests"] == 2
    assert row["none"] == {"own": 0.5} | dict.fromkeys(detect.PLACES, 0.5) | {"code": 0.0}
    assert row["missed"] == ["users"]


def test_published_sets_are_read(tmp_path: Path) -> None:
    mbpp = tmp_path / "mbpp.jsonl"
    mbpp.write_text(
        json.dumps({"text": "Write a function to add.", "test_list": ["assert add(1, 2) == 3"]}) + "\n"
    )
    assert detect.with_examples(mbpp) == [detect.Request("Write a function to add, e.g. add(1, 2) == 3")]
    conala = tmp_path / "conala.json"
    conala.write_text(
        json.dumps(
            [{"intent": "How to add?", "rewritten_intent": None}, {"intent": "a", "rewritten_intent": "b"}]
        )
    )
    assert [one.text for one in detect.requests(conala)] == ["How to add?", "b"]
    assert [one.text for one in detect.requests(conala, raw=True)] == ["How to add?", "a"]


@pytest.mark.parametrize("text", ["", "[1]", '{"intent": null}', "{", '{"text": "a", "place": "moon"}'])
def test_a_file_without_requests_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    with pytest.raises(Nl2CodeError) as raised:
        detect.requests(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("language", sorted(detect.shipped()))
def test_shipped_sets_hold_requests_of_their_own(language: str) -> None:
    texts = [one.text for one in detect.shipped()[language]]
    assert len(set(texts)) == len(texts) >= 20


def test_the_command_prints_a_table_and_a_json_line(files: Path, tmp_path: Path) -> None:
    satd = tmp_path / "satd.csv"
    with satd.open("w", newline="") as file:
        csv.writer(file).writerows([["Comment Text"], ["TODO: is this right?"], ["# HACK || to be removed"]])
    arguments = ["eval-detector", str(files), "--satd", str(satd), "--hits", "5"]
    app = typer.Typer()
    app.callback()(lambda: None)
    eval_detector.register(app)
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "deep/asking.py:3" in shown.output
    quiet = CliRunner().invoke(app, [*arguments, "--json"])
    data = json.loads(quiet.stdout)
    assert json.loads(shown.stdout.splitlines()[-1]) == data
    assert data["files"][0]["rate"] == 0.25
    assert data["satd"]["comments"] == 2
    assert data["satd"]["none"]["code"] == 0
    assert set(data["recall"]) == set(detect.shipped())
