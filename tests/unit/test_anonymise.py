"""Who a record is from goes: the same thing gets the same placeholder in a record, and none is left anywhere."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.rows import candidate_row, event_row, request_row
from fakes.secrets import planted
from nl2code_server.cli import feedback_audit
from nl2code_server.config import Settings
from nl2code_server.feedback.anonymise import anonymise, anonymous_rows
from nl2code_server.feedback.store import Record, Store
from unit.test_feedback_cli import read, run

PERSON = "Jane Doe"
MAIL = "jane.doe" + "@" + "acme-corp.com"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"# mail {MAIL} about it", "# mail <EMAIL_1> about it"),
        ("open('/home/jdoe/src/app.py')", "open('<PATH_1>')"),
        (r"open(r'C:\Users\jdoe\x.txt')", "open(r'<PATH_1>')"),
        (r"share = '\\files\teams\x'", "share = '<PATH_1>'"),
        ("see ~/notes/today.md", "see <PATH_1>"),
        ("see file:///srv/app/x.py", "see <PATH_1>"),
        ("connect('db1.prod.internal', '10.1.2.3')", "connect('<HOST_1>', '<HOST_2>')"),
        (f"__author__ = '{PERSON}'", "__author__ = '<NAME_1>'"),
        (f"# Copyright (c) 2024 {PERSON}", "# Copyright (c) 2024 <NAME_1>"),
        ("# TODO(jdoe): mend it", "# TODO(<NAME_1>): mend it"),
        ("call +49 170 1234567 then", "call <PHONE_1> then"),
        ("token = '<SECRET:github-token-2>'", "token = '<TOKEN_1>'"),
        ("mylaptop runs it for janed", "<NAME_1> runs it for <NAME_2>"),
    ],
)
def test_each_kind_gets_its_typed_placeholder(text: str, expected: str) -> None:
    assert anonymise(text, own=("janed", "mylaptop")).value == expected


@pytest.mark.parametrize(
    "text",
    [
        "def mean(xs):\n    return sum(xs) / len(xs)  # a/b/c\n",
        "@app.get('/api/v1/users/{id}')\ndef users(id): ...",
        "import os.path\nx = a @ b\nlocalhost = '127.0.0.1'\nversion = '1.2.3'",
        "return 1 / 2 / 3, r'\\d+\\s', 'and/or'",
    ],
)
def test_ordinary_code_stays(text: str) -> None:
    assert anonymise(text, own=("janed",)).value == text


def test_one_thing_has_one_placeholder_in_a_record_and_is_told() -> None:
    value = {"a": f"# {MAIL} wrote it", "b": [f"send('{MAIL}')", "bob" + "@" + "acme-corp.com"]}
    found = anonymise(value)
    assert found.value == {"a": "# <EMAIL_1> wrote it", "b": ["send('<EMAIL_1>')", "<EMAIL_2>"]}
    assert found.replaced["<EMAIL_1>"] == MAIL
    assert anonymise("# bob" + "@" + "acme-corp.com").value == "# <EMAIL_1>"


_IDENTITIES = (
    MAIL,
    "bob" + "@" + "acme-corp.com",
    "/home/janed/src/shop/app.py",
    "/Users/janed/x",
    "~/notes/today.md",
    "db1.prod.internal",
    "10.1.2.3",
    "+49 170 1234567",
    "janed",
    "mylaptop",
    *(secret for kind, secret in planted().items() if kind not in ("private key", "prose password")),
)
_LINES = (
    "x = '{}'",
    "def f(a='{}'):\n    return a  # like {}",
    "# ask {} about it",
    '"""Send it to {} today"""',
    "call(f'{{x}} {}', r'{}', b'{}')",
    "names = ['{}', \"{}\"]",
    "class A:\n    url = '{}'",
)
_CODE = st.lists(
    st.tuples(st.sampled_from(_LINES), st.sampled_from(_IDENTITIES), st.sampled_from(_IDENTITIES)), max_size=6
).map(lambda lines: "\n".join(line.format(one, two, one) for line, one, two in lines))
_OWN = ("janed", "mylaptop")


@settings(deadline=None, max_examples=40)
@given(_CODE)
def test_code_stays_code_and_a_second_pass_finds_nothing(code: str) -> None:
    ast.parse(code)
    once = anonymise(code, _OWN)
    ast.parse(once.value)
    assert once.value.count("\n") == code.count("\n")
    for identity in _IDENTITIES:
        assert identity not in once.value
    again = anonymise(once.value, _OWN)
    assert (again.value, again.replaced) == (once.value, {})


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=80), _CODE)
def test_any_text_is_anonymised_once_and_for_all(text: str, code: str) -> None:
    once = anonymise([text, code, f"{code}{text}"], _OWN)
    again = anonymise(once.value, _OWN)
    assert (again.value, again.replaced) == (once.value, {})


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(_IDENTITIES), min_size=1, max_size=5))
def test_one_identity_is_one_placeholder_in_a_record_and_counts_anew_in_the_next(found: list[str]) -> None:
    record = anonymise([f"x = '{identity}'" for identity in found], _OWN)
    names = dict(zip(found, record.value, strict=True))
    assert [names[identity] for identity in found] == record.value
    assert len(set(names.values())) == len(names)
    # What stands behind the placeholders is told to the user, and all of it.
    assert set(record.replaced) == set(re.findall(r"<[A-Z]+_\d+>", "".join(record.value)))
    for identity in found:
        assert re.search(r"<[A-Z]+_1>", anonymise(f"x = '{identity}'", _OWN).value)


def test_eighteen_secrets_are_gone_and_so_are_ids_that_join_records() -> None:
    secrets = planted()
    text = "".join(f"value_{n} = {secret!r}\n" for n, secret in enumerate(secrets.values()))
    text += f"# the password is {secrets['prose password']}\n"
    request = request_row(
        "r1", instruction=text, session_id="s-1", file_id="f-1", project_id="p-1", time=1_700_000_123.0
    )
    event = event_row("accepted", "c1", "r1", time=1_700_000_130.0, data={"pid": 77})
    rows, replaced = anonymous_rows(request, [candidate_row("c1", "r1", text=text)], [event])
    plain = json.dumps(rows)
    for secret in secrets.values():
        for part in secret.splitlines():
            assert "-----" in part or "://" in part or json.dumps(part)[1:-1] not in plain, part
    assert replaced
    assert rows["request"]["request_id"] == rows["events"][0]["request_id"] == "r1"
    assert rows["candidates"][0]["candidate_id"] == rows["events"][0]["suggestion_id"] == "c1"
    assert (rows["request"]["session_id"], rows["request"]["file_id"], rows["request"]["project_id"]) == (
        "",
    ) * 3
    assert rows["request"]["time"] % 86400 == 0
    assert rows["events"][0]["time"] - rows["request"]["time"] == 7.0
    assert "pid" not in rows["events"][0]["data"]


@pytest.fixture(name="record")
def _record(tmp_path: Path) -> Record:
    with Store(tmp_path / "data" / "feedback.db") as store:
        chat = [{"role": "user", "content": f"# {PERSON} lives in /home/janed/x, token <SECRET:npm-token>"}]
        store.add([request_row("r1", messages=chat, instruction=f"mail {MAIL}"), candidate_row("c1", "r1")])
        record = store.record("r1")
    assert record
    return record


def test_export_and_audit_show_the_same(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_audit, "own_words", lambda: ("janed",))
    exported = run("export", "-", "--anonymise").stdout
    assert MAIL not in exported and "/home/janed" not in exported and "<EMAIL_1>" in exported
    assert MAIL in run("export", "-").stdout
    audited = read("audit", "--json")
    assert audited["export"]["record"]["request"] == json.loads(exported)["request"]
    assert audited["export"]["replaced"]["<EMAIL_1>"] == MAIL
    assert audited["prompt"]["leaves"] is False
    assert audited["prompt"]["taken_out"] == {"<SECRET:npm-token>": 1, "<SECRET:user>": 1}
    shown = run("audit", "r1").stdout
    assert "stays on this machine" in shown and f"<EMAIL_1>  {MAIL}" in shown


def test_audit_tells_whether_the_prompt_leaves(record: Record) -> None:
    remote = Settings(endpoint="https://models.example/v1")
    assert feedback_audit.audited(record, remote, ())["prompt"]["leaves"] is True
    local = Settings(endpoint="http://127.0.0.1:8000/v1")
    assert feedback_audit.audited(record, local, ())["prompt"]["leaves"] is False


def test_audit_of_nothing_says_so() -> None:
    assert run("audit").exit_code == 1
