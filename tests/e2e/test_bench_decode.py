"""`nl2code bench decode` on hosts that play a script: rates and first tokens are what the script makes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nl2code_model.bench import client, decode, roofline
from nl2code_model.bench.decode import PEER, Contestant
from nl2code_model.cli import bench as command
from nl2code_server.errors import HostError, Nl2CodeError

TESTS = Path(__file__).parents[1]
FAKE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import asdict
from fakes.engine import FakeEngine
from nl2code_model.host.serve import Options, run_engine
engine = FakeEngine(script=("x",) * int(sys.argv[3]), delay=float(sys.argv[4]), context=10_000)
run_engine(Options(engine=sys.argv[2]), engine, lambda record: print(json.dumps(asdict(record)), flush=True))
"""


def fake(name: str, *, words: int = 1000, delay: float = 0.001) -> Contestant:
    arguments = (str(TESTS), name.replace(" ", ""), str(words), str(delay))
    return Contestant(name, "fake-model", (sys.executable, "-c", FAKE, *arguments), weights=10**8)


def test_it_prints_a_table_and_a_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Sequence[str], Sequence[str], str]] = []

    def contestants(models: Sequence[str], engines: Sequence[str], device: str) -> list[Contestant]:
        asked.append((models, engines, device))
        return [fake("torch", delay=0.003), fake(PEER)]

    monkeypatch.setattr(decode, "contestants", contestants)
    monkeypatch.setattr(roofline, "BLOCK", 1 << 24)
    monkeypatch.setattr(decode, "TOKENS", 32)
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    options = ["--engine", "torch", "--engine", "llamacpp", "--model", "tiny", "--rounds", "1"]
    done = CliRunner().invoke(app, ["bench", "decode", *options])
    assert done.exit_code == 0, done.output
    assert asked == [(["tiny"], ["torch", "llamacpp"], "auto")]
    table, _, line = done.stdout.strip().rpartition("\n")
    assert PEER in table
    assert "cores" in table

    data = json.loads(line)
    rows = {(row["measure"], row["engine"]): row for row in data["results"]}
    assert rows.keys() == {(measure.key, name) for measure in decode.MEASURES for name in ("torch", PEER)}
    for measure in ("decode", "requests", "first_cold"):
        row, peer = rows[measure, "torch"], rows[measure, PEER]
        assert row["ratio"] == pytest.approx(row["median"] / peer["median"], rel=0.02)
        assert peer["ratio"] == 1
    # The fake makes one token after another, whoever asks and for how many candidates.
    for name, fastest in (("torch", 1 / 0.003), (PEER, 1 / 0.001)):
        assert fastest / 50 < rows["decode", name]["median"] <= fastest
        assert rows["candidates", name]["median"] <= fastest * 1.01
        assert rows["candidates", name]["median"] > 0.1 * rows["decode", name]["median"]
        assert rows["requests", name]["median"] > 0.1 * rows["decode", name]["median"]
        assert rows["first_short", name]["median"] > 1000 / fastest
        assert rows["start", name]["median"] > 0.1
    (host, _) = data["hosts"]
    assert host["roofline"] == pytest.approx(data["memory_read"]["median"] * 10, abs=1)
    row = rows["decode", "torch"]
    assert row["roofline"] == pytest.approx(row["median"] / host["roofline"], rel=0.02)
    assert rows["requests", "torch"]["roofline"] is None


def test_a_host_that_cannot_be_timed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "BLOCK", 1 << 20)
    broken = Contestant("broken", "m", (sys.executable, "-c", "raise SystemExit('no such file: m')"))
    with pytest.raises(HostError, match="broken did not start: no such file: m"):
        decode.run([broken], 1)
    with pytest.raises(HostError, match=r"too short to time: 3 tokens"):
        decode.run([fake("terse", words=3)], 1)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    with pytest.raises(HostError, match=r"no answer from http://127.0.0.1:\d+/v1 within 0 s"):
        decode.run([fake("slow", delay=1)], 1)


def test_models_that_are_not_here_are_refused_before_anything_starts() -> None:
    with pytest.raises(Nl2CodeError, match=r"nl2code model pull smollm2-135m"):
        decode.contestants(["smollm2-135m"], ["llamacpp"])


def test_memory_is_read_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "BLOCK", 64 << 20)
    assert 0.5 < roofline.Memory().bandwidth() < 20_000


def test_a_token_reads_the_output_or_the_embeddings_it_shares_but_no_encoder(tmp_path: Path) -> None:
    import gguf
    import numpy
    from safetensors.numpy import save_file

    tensors = {"token_embd.weight": (300, 64), "blk.0.attn_q.weight": (64, 64), "output_norm.weight": (64,)}
    for output in (False, True):
        path = tmp_path / f"{output}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for name, shape in (tensors | ({"output.weight": (300, 64)} if output else {})).items():
            writer.add_tensor(name, numpy.zeros(shape, dtype=numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        values = 300 * 64 + 64 * 64 + 64
        assert roofline.gguf_bytes(path) == values * 4
        assert roofline.gguf_bytes(path, unpacked=True) == values * 2

    zeros = numpy.zeros
    save_file({"shared.weight": zeros((10, 4)), "encoder.w": zeros((50, 4))}, tmp_path / "a.safetensors")
    save_file({"decoder.w": zeros((5, 4))}, tmp_path / "b.safetensors")
    assert roofline.folder_bytes(tmp_path) == (10 * 4 + 5 * 4) * 2
    save_file({"lm_head.weight": zeros((10, 4))}, tmp_path / "c.safetensors")
    assert roofline.folder_bytes(tmp_path) == (10 * 4 + 5 * 4) * 2
