"""The page of `nl2code report` in a real browser, with 100,000 events: quick, right, quiet, and usable by keys.

`NL2CODE_PICTURES=FOLDER` keeps pictures of it in light and dark.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from editors.vscode.browser import Browser
from fakes.counting import DIMENSIONS, counted, seconds
from fakes.history import fill
from fakes.versions import tune_twice
from nl2code_model.report import static

pytestmark = pytest.mark.editor
REQUESTS = 32_500  # about three events each
LIMIT = 2.0  # s
PICTURES = os.environ.get("NL2CODE_PICTURES", "")
ROWS = (
    "[...document.querySelectorAll('#{key} tbody tr')]"
    ".map((row) => [...row.cells].map((one) => one.textContent))"
)
VIOLATIONS = (
    "window.violations = []; document.addEventListener('securitypolicyviolation',"
    " (event) => window.violations.push(event.violatedDirective + ' ' + event.blockedURI))"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    fill(home / "data" / "feedback.db", REQUESTS, now=time.time() - 86400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NL2CODE_HOME", str(home))
        tune_twice(home / "adapters")
    return home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """Run `nl2code report --serve`; end it by Ctrl+C."""
    command = [sys.executable, "-m", "nl2code_server.cli", "report", "--serve", "--minutes", "30"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NL2CODE_HOME": str(home)},
    )
    assert process.stdout
    try:
        first = process.stdout.readline().strip()
        assert first.startswith("http://127.0.0.1:"), first + process.stdout.read()
        yield first
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Any:
    """Open a page that notes what its policy has to refuse."""
    browser.call(None, "open", "report")

    def call(name: str, *args: Any) -> Any:
        return browser.call("report", name, *args)

    call("addInitScript", {"content": VIOLATIONS})
    call("goto", address, {"timeout": 100_000})
    return call


def test_it_opens_in_under_two_seconds(page: Any, address: str) -> None:
    waits = []
    for _ in range(5):
        page("goto", address, {"timeout": 100_000})
        waits.append(page("evaluate", "performance.getEntriesByType('navigation')[0].loadEventStart / 1000"))
    slower = crowding()
    told = ", ".join(f"{wait:.2f}" for wait in waits)
    print(
        f"\n100,000 events: the page opens in {told} s; this machine is {slower:.1f} times as slow as when alone"
    )
    assert min(waits) < LIMIT * slower


def crowding() -> float:
    """Return how much longer computing takes here than it would without other work on the machine."""
    wall, own = time.perf_counter(), time.process_time()
    while time.process_time() - own < 0.5:
        sum(range(10_000))
    return max(1.0, (time.perf_counter() - wall) / 0.5)


def test_its_numbers_are_those_of_other_queries(page: Any, home: Path) -> None:
    database = home / "data" / "feedback.db"
    text, total = page("innerText", "main"), counted(database)[""]
    shown = page("innerText", "header")
    events = int(re.sub(r"\D", "", re.findall(r"([\d,]+) events", shown)[0]))
    assert events >= 100_000
    assert f"of {total['offered']:,} suggestions offered" in text
    values = page("evaluate", "[...document.querySelectorAll('.keys .value')].map((one) => one.textContent)")
    waits = seconds(database)
    median = waits[(len(waits) + 1) // 2 - 1]
    assert values[:4] == [
        f"{total['taken'] / total['offered']:.0%}",
        f"{total['kept']:.0%}",
        f"{total['verified'] / total['offered']:.0%}",
        f"{median:.1f} s",
    ]
    for key, dimension in (("by-kind", "by_kind"), ("by-model", "by_model"), ("by-adapter", "by_adapter")):
        rows = {row[0]: row[1:4] for row in page("evaluate", ROWS.format(key=key))}
        assert rows == {
            name: [f"{told[what]:,}" for what in ("requests", "offered", "taken")]
            for name, told in counted(database, DIMENSIONS[dimension]).items()
        }


def test_it_asks_nobody_for_anything(page: Any) -> None:
    asked = page("evaluate", "performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in asked if not name.endswith("/state")] == []
    assert page("evaluate", "window.violations") == []


def test_keys_alone_reach_the_numbers_and_delete_a_suggestion(page: Any, address: str) -> None:
    page("goto", address, {"timeout": 100_000})
    page("keyboard.press", "Tab")
    assert page("evaluate", "document.activeElement.textContent") == "To the figures"
    page("focus", "#over-time summary")
    page("keyboard.press", "Enter")
    assert page("isVisible", "#over-time table")
    before = page("evaluate", "document.querySelector('#recent + p + ol li').id")
    page("focus", "#recent + p + ol li .delete summary")
    page("keyboard.press", "Enter")
    page("keyboard.press", "Tab")
    page("keyboard.press", "Enter")
    page("waitForSelector", ".notice", {"timeout": 100_000})
    assert page("innerText", ".notice") == "The suggestion is deleted."
    assert page("evaluate", f"document.getElementById('{before}')") is None


def test_nothing_moves_while_it_loads_and_a_small_screen_does_not_scroll_sideways(
    page: Any, address: str
) -> None:
    page("goto", address, {"timeout": 100_000})
    shift = """new Promise((done) => { let sum = 0;
        new PerformanceObserver((list) => list.getEntries().forEach((one) => { sum += one.value; }))
            .observe({ type: 'layout-shift', buffered: true });
        setTimeout(() => done(sum), 500); })"""
    assert page("evaluate", shift) < 0.01
    page("setViewportSize", {"width": 375, "height": 800})
    try:
        assert page("evaluate", "document.documentElement.scrollWidth") <= 375
    finally:
        page("setViewportSize", {"width": 1280, "height": 800})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_light_and_dark(page: Any, home: Path, scheme: str, tmp_path: Path) -> None:
    """The page as a file, without JavaScript: words have the contrast of WCAG AA, on the page and in its plots."""
    file = tmp_path / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NL2CODE_HOME", str(home))
        html, _ = static.page(home / "data" / "feedback.db", time.time() - 70 * 86400, 0)
    file.write_text(html)
    page("emulateMedia", {"colorScheme": scheme})
    page("goto", file.as_uri(), {"timeout": 100_000})
    assert page("evaluate", "document.scripts.length") == 0
    assert page("evaluate", "window.violations") == []
    low = page("evaluate", CONTRAST)
    assert low == []
    picture = (Path(PICTURES) if PICTURES else tmp_path) / f"report-{scheme}.png"
    clip = {"x": 0, "y": 0, "width": 1280, "height": 1240}
    page("screenshot", {"path": str(picture), "timeout": 100_000, "clip": clip, "fullPage": True})
    assert picture.stat().st_size > 20_000


CONTRAST = """(() => {
    const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (rgb) => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
    const behind = (one) => { for (; one; one = one.parentElement) {
        const color = getComputedStyle(one).backgroundColor;
        if (!/, 0\\)$/.test(color)) return color; } return 'rgb(255, 255, 255)'; };
    const low = [];
    const words = 'p, dt, dd, th, td, summary, h1, h2, h3, li span, code, pre, a, svg text';
    for (const one of document.querySelectorAll(words)) {
        const style = getComputedStyle(one);
        const front = one.closest('svg') ? style.fill : style.color;
        const [a, b] = [light(front), light(behind(one))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${one.tagName} ${one.textContent.slice(0, 30)} ${front}`);
    }
    return low;
})()"""
