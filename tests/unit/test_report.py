"""The report: its numbers are the log's, nothing in the log gets out of its place, and nobody else gets in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from typer.testing import CliRunner, Result

from fakes.counting import DIMENSIONS, counted
from fakes.history import DAY, fill
from fakes.rows import candidate_row, event_row, request_row
from fakes.versions import tune_twice
from nl2code_model.cli import report as command
from nl2code_model.report import page, static
from nl2code_model.report import serve as live
from nl2code_model.report.draw import drawn
from nl2code_model.report.prospects import Asking, Prospects
from nl2code_model.report.runs import runs
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.figures import figures, no_figures
from nl2code_server.feedback.store import Store

NOW = time.time()
HOSTILE = "</pre></style><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\u2066\0\x1b[2J\"'{{7*7}}"
VOID = {"meta", "link", "input", "img", "br"}
TOLD = {"judged": 7, "sft": 5, "kto": {"desirable": 4, "undesirable": 1}, "dpo": 0, "held_out": 2}


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


def content(database: Path, told: Prospects | None = None, shown: page.Live | None = None) -> page.Content:
    with Store(database) as store:
        return page.Content(figures(store), runs(), told or Prospects(None, "not asked"), shown)


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["report", *arguments])


def test_the_page_shows_the_numbers_of_the_log(database: Path, tmp_path: Path) -> None:
    fill(database, 300, now=NOW)
    names = tune_twice(tmp_path)
    missing = {"missing": ["12 more that were taken"]}
    seen = Seen(page.render(content(database, Prospects(TOLD | missing))))
    total = counted(database)[""]
    assert seen.open == []
    assert f"of {total['offered']:,} suggestions offered" in seen.text
    assert f"{total['taken'] / total['offered']:.0%}" in seen.text
    assert f"{total['kept']:.0%}" in seen.text
    for column in DIMENSIONS.values():
        for name, told in counted(database, column).items():
            row = f"{name}{told['requests']:,}{told['offered']:,}{told['taken']:,}"
            assert row in seen.text or len(name) > 60, name
    assert "12 more that were taken" in seen.text
    assert all(name in seen.text for name in names)
    assert "refused" in seen.text
    pictures = [attributes for tag, attributes in seen.tags if tag == "svg"]
    assert len(pictures) >= 12
    assert all(one["role"] == "img" and one["aria-label"] for one in pictures)
    figures_ = [tag for tag, _ in seen.tags if tag == "figure"]
    assert len(figures_) == len(pictures) <= seen.text.count("The numbers")


@pytest.fixture
def hostile(database: Path, tmp_path: Path) -> Path:
    with Store(database) as store:
        values: Any = dict.fromkeys(("instruction", "kind", "model", "adapter", "surface"), HOSTILE)
        example = {"call": HOSTILE, "expected": HOSTILE, "got": HOSTILE, "ok": False}
        check = {"check": HOSTILE, "ok": HOSTILE, "detail": [HOSTILE]}
        store.add(
            [request_row("r1", time=NOW, **values), request_row("r2", time=NOW, outcome="x", reason=HOSTILE)]
        )
        store.add([candidate_row("c1", "r1", text=HOSTILE, examples=[example], verdicts=[check])])
        store.add([event_row("offered", "c1", "r1"), event_row("rejected", "c1", "r1", cause=HOSTILE)])
    (tmp_path / "x").mkdir()
    tune_twice(tmp_path / "x", HOSTILE)
    return database


@pytest.mark.parametrize("shown", [None, page.Live("k" * 20, HOSTILE, "", HOSTILE)], ids=["static", "live"])
def test_hostile_text_stays_text(hostile: Path, shown: page.Live | None) -> None:
    told = Prospects(TOLD | {"missing": [HOSTILE]})
    html = page.render(content(hostile, told, shown))
    seen = Seen(html)
    assert seen.open == []
    assert "alert(1)" in seen.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b]", html)
    assert "⟨U+202E⟩" in seen.text
    assert "{{7*7}}" in seen.text
    tags = [tag for tag, _ in seen.tags]
    assert tags.count("script") == (shown is not None)
    assert "img" not in tags
    for _, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action", "srcset", "xlink:href"):
            assert re.fullmatch(r"#\w+|\?since=\w*|data:,|delete", attributes.get(name) or "#main"), (
                attributes
            )


def test_the_policy_lets_in_the_pages_own_style_and_nothing_else(hostile: Path) -> None:
    html = page.render(content(hostile))
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert found and style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = found[1].replace("&#39;", "'")
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_an_empty_log_has_a_page(tmp_path: Path) -> None:
    html = page.render(page.Content(no_figures(), runs(), None))
    seen = Seen(html)
    assert "Nothing has been asked for" in seen.text
    assert "being counted" in seen.text
    assert "No model has been tuned" in seen.text


def test_only_what_draws_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="x()"><script>x()</script>'
        '<foreignObject/><a href="x"/><g id="clip0" clip-path="url(#clip0)" style="x"><path d="M0"/></g></svg>'
    )
    monkeypatch.setattr("nl2code_model.report.draw._svg", lambda _: svg)
    assert drawn({}, "a < b", "k") == (
        '<svg width="9" height="9" viewBox="0 0 9 9" role="img" aria-label="a &lt; b">'
        '<g id="k-clip0" clip-path="url(#k-clip0)"><path d="M0" /></g></svg>'
    )


def test_a_damaged_manifest_is_left_out(tmp_path: Path) -> None:
    names = tune_twice(tmp_path / "x")
    found = {one.name: one for one in runs()}
    assert set(found) == set(names)
    assert (found[names[0]].current, found[names[0]].passed, found[names[1]].verdict) == (
        True,
        True,
        "refused",
    )
    assert len(found[names[0]].stages[0].curve) == 60
    for manifest in (tmp_path / "data" / "adapters").glob("*/*/manifest.json"):
        told = json.loads(manifest.read_text())
        told["training"]["stages"]["sft"]["curve"] = "no curve"
        manifest.write_text(json.dumps(told))
    assert runs() == []


def test_the_dry_run_may_fail_or_take_too_long() -> None:
    program = (sys.executable, "-c")
    assert Asking((*program, "print('{\"sft\": 1}')")).wait(60).told == {"sft": 1}
    failed = Asking((*program, "import sys; sys.exit('error: no such thing')")).wait(60)
    assert (failed.told, failed.problem) == (None, "error: no such thing")
    assert "longer than" in Asking((*program, "import time; time.sleep(60)")).wait(0.2).problem


def test_the_command_writes_a_private_page_and_data(database: Path, tmp_path: Path) -> None:
    fill(database, 60, now=NOW)
    target = tmp_path / "page.html"
    done = run("--out", str(target), "--wait", "0")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    since = f"{60 * 24}h"
    data = json.loads(run("--json", "--wait", "0", "--since", since).stdout)
    wanted = counted(database, since=time.time() - 60 * DAY)[""]
    assert {name: data["total"][name] for name in wanted} == pytest.approx(wanted)
    assert run("--since", "someday").exit_code == 2
    assert run("--serve", "--json").exit_code == 2
    assert isinstance(run("--out", str(tmp_path), "--wait", "0").exception, Nl2CodeError)


def test_what_is_missing_comes_from_the_dry_run(database: Path) -> None:
    fill(database, 20, now=NOW)
    told = static.figures_json(database, None, 100.0)
    assert told["next"]["requests"] == 20, told["next_problem"]
    assert told["next"]["missing"]


# --- live


@asynccontextmanager
async def serving(database: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[str]:
    """Serve in this process; give the address."""
    told = json.dumps(TOLD | {"missing": []})
    monkeypatch.setattr(live, "Asking", lambda: Asking((sys.executable, "-c", f"print({told!r})")))
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    options = {"port": 0, "minutes": 5.0} | options
    task = asyncio.create_task(live.serve(database, announce=address.set_result, **options))
    either: list[asyncio.Future[Any]] = [task, address]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not address.done():
        await task
    try:
        yield address.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_only_who_has_the_key_gets_in_and_from_no_other_site(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 30, now=NOW)
    async with serving(database, monkeypatch) as url, httpx2.AsyncClient(timeout=60) as client:
        answer = await client.get(url)
        assert answer.status_code == 200
        assert "suggestions offered" in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        root, key = url.rstrip("/").rsplit("/", 1)
        post = {"key": key, "suggestion": "r0000000-0"}
        port = root.rsplit(":", 1)[1]
        refused = [
            await client.get(f"{root}/"),
            await client.get(f"{root}/{key}x/"),
            await client.get(url, headers={"Host": f"evil.example:{port}"}),
            await client.get(url, headers={"Host": "127.0.0.1:1"}),
            await client.get(url, headers={"Origin": "https://evil.example"}),
            await client.get(url, headers={"Sec-Fetch-Site": "cross-site"}),
            await client.post(f"{url}delete", data={**post, "key": "x"}),
            await client.post(f"{url}delete", data=post, headers={"Origin": "null"}),
            await client.post(f"{root}/delete", data=post),
        ]
        assert [one.status_code for one in refused] == [403] * len(refused)
        assert (await client.get(f"{url}?since=1y")).status_code == 404
        assert (await client.get(f"{url}other")).status_code == 404
        assert (await client.get(f"{url}delete")).status_code == 404
        assert (await client.post(f"{url}delete", data={"key": key})).status_code == 400
        assert (await client.post(f"{url}delete", content=b"x" * 5000)).status_code == 413
    with Store(database) as store:
        assert len(list(store.records())) == 30


async def test_a_suggestion_is_deleted_and_the_page_knows(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 30, now=NOW)
    with Store(database) as store:
        one = figures(store, recent=1).recent[0].suggestion_id
    async with serving(database, monkeypatch) as url, httpx2.AsyncClient(timeout=60) as client:
        first = (await client.get(url)).text
        assert f'value="{one}"' in first
        state = (await client.get(f"{url}state")).text
        key = url.rstrip("/").rsplit("/", 1)[1]
        form = {"key": key, "suggestion": one, "since": "30d"}
        done = await client.post(f"{url}delete", data=form, follow_redirects=True)
        assert "The suggestion is deleted." in done.text
        assert f'value="{one}"' not in done.text
        assert 'aria-current="page">30 days' in done.text
        assert (await client.get(f"{url}state")).text != state
        again = await client.post(f"{url}delete", data=form, follow_redirects=True)
        assert "not there any more" in again.text
    with Store(database) as store:
        assert store.record(one) is None


async def test_it_ends_when_nobody_looks_any_more(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(60):
        async with serving(database, monkeypatch, minutes=0.01) as url, httpx2.AsyncClient() as client:
            with pytest.raises(httpx2.TransportError):
                while True:
                    await client.get(f"{url}state")
                    await asyncio.sleep(0.1)


async def test_a_port_that_is_taken_is_told(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(database, monkeypatch) as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(Nl2CodeError, match="cannot listen"):
            async with serving(database, monkeypatch, port=port):
                pass
