"""Two models trained here, through everything: host, language server, validation, accept and log, over the wire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from e2e.door import COMMENT, MARK, door, events, store
from e2e.serving import get, serves_nobody_else, serving
from fakes.tiny import CHINESE, ENGLISH, LOOP, RECURSION, Tiny
from nl2code_server.endpoint.runtime import Record
from nl2code_server.feedback.store import Store

# The models are trained within it, and none of this is measured: a busy machine may take its time.
pytestmark = pytest.mark.timeout(400)
PATIENT = {"NL2CODE_BUDGET_SECONDS": "60", "NL2CODE_REQUEST_TIMEOUT": "120"}
AGAIN = 5  # times that an editor asks anew while the answer is on its way


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_t5"])
async def test_from_a_comment_to_the_log(kind: str, request: pytest.FixtureRequest) -> None:
    tiny: Tiny = request.getfixturevalue(kind)
    assert tiny.parameters < 1_000_000
    async with serving(str(tiny.folder)) as record:
        [entry] = (await get(record, "/v1/models")).json()["data"]
        assert (entry["id"], entry["prefill"]) == (tiny.folder.name, kind == "tiny_llama")
        await serves_nobody_else(record)
        async with door(None, env=PATIENT) as editor:
            assert (
                await editor.completed(f"# {ENGLISH}{MARK}", again=AGAIN) == f"# {ENGLISH}\n{LOOP.rstrip()}"
            )
            assert await editor.completed(f"# {CHINESE}{MARK}\n", again=AGAIN) == f"# {CHINESE}\n{RECURSION}"
            verified = await editor.completed(f"{COMMENT}\n{MARK}", again=AGAIN)
            assert LOOP.rstrip() in verified
        for text in (f"# {ENGLISH}\n{LOOP}", f"# {CHINESE}\n{RECURSION}", verified):
            namespace: dict[str, Any] = {}
            exec(text, namespace)
            assert namespace["gcd"](12, 18) == 6
        logged = await events("accepted", "accepted", "accepted")
        assert [event.event for event in logged].count("accepted") == 3
        metrics = (await get(record, "/metrics")).text
        assert 'nl2code_torch_info{device="cpu"' in metrics
        assert 'requests_total{outcome="failed"} 0' in metrics
        await _leaving_stops_the_model(record)
    with Store(store()) as opened:
        records = [*opened.records()]
    assert [len(found.candidates) for found in records] == [1, 1, 1]
    for found in records:
        [candidate] = found.candidates
        assert (found.request.model, found.request.outcome) == (tiny.folder.name, "ok")
        assert candidate.text.startswith("def gcd(a, b):")
        assert candidate.logprob_sum is not None and -1.0 < candidate.logprob_sum < 0.0
        assert {"offered", "accepted"} <= {event.event for event in found.events}
    assert [found.candidates[0].status for found in records] == ["valid", "valid", "verified"]


async def _leaving_stops_the_model(record: Record) -> None:
    """Leave a long answer, and see that the model works for nobody afterwards."""
    body = {
        "model": record.model,
        "messages": [{"role": "user", "content": "what it was never taught"}],
        "max_tokens": 1500,
        "temperature": 2.0,
        "n": 16,
        "stream": True,
    }
    url, headers = f"{record.url}/chat/completions", {"Authorization": f"Bearer {record.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        http.stream("POST", url, json=body) as response,
    ):
        assert response.status_code == 200
        await anext(response.aiter_bytes())
    for _ in range(2000):
        before = (await get(record, "/metrics")).text
        if "nl2code_running 0" in before:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    after = (await get(record, "/metrics")).text
    assert 'requests_total{outcome="cancelled"} 1' in after
    assert _generated(after) == _generated(before) < 16 * 1500


def _generated(metrics: str) -> int:
    [line] = [line for line in metrics.splitlines() if line.startswith("nl2code_generated_tokens_total ")]
    return int(line.split()[1])


async def test_a_host_that_cannot_be_says_why_in_one_line(tiny_llama: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_llama.folder / "config.json").read_text())
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    command = [
        sys.executable,
        "-m",
        "nl2code_server.cli",
        "serve",
        "--engine",
        "torch",
        "--model",
        str(folder),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (1, b"")
    assert len(errors.decode().strip().splitlines()) == 1
    assert b"pickle files can run code and are never loaded" in errors
