"""`nl2code tune --dry-run` and `nl2code adapters`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.tuning import refused, taken
from nl2code_model.tune.registry import Registry
from nl2code_server.cli.app import main
from nl2code_server.feedback.store import Store
from nl2code_server.platform import paths


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = 0
    try:
        main([*arguments])
    except SystemExit as end:
        status = int(end.code) if isinstance(end.code, int) else 1
    out, errors = capsys.readouterr()
    return status, out, errors


def _log(good: int, bad: int) -> None:
    with Store(paths().data / "feedback.db") as store:
        for one in (taken(n) if n % 2 or n >= 2 * bad else refused(n) for n in range(good + bad)):
            store.add([one.request, *one.candidates, *one.events])


def test_a_dry_run_tells_sizes_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    _log(8, 4)
    status, out, _ = _run(capsys, "tune", "--dry-run", "--json")
    report = json.loads(out)
    assert status == 0
    assert {name: type(report[name]) for name in ("sft", "kto", "dpo", "held_out", "ready", "missing")} == {
        "sft": int, "kto": dict, "dpo": int, "held_out": int, "ready": bool, "missing": list,
    }  # fmt: skip
    assert set(report["kto"]) == {"desirable", "undesirable"}
    assert not report["ready"] and "38 more suggestions" in report["missing"][0]
    status, out, _ = _run(capsys, "tune", "--dry-run")
    assert status == 0 and "missing: 38 more suggestions" in " ".join(out.split())


def test_without_a_log_there_is_nothing_to_learn_from(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "tune", "--dry-run", "--json")
    report = json.loads(out)
    assert (status, report["sft"], report["ready"]) == (0, 0, False)
    status, _, errors = _run(capsys, "tune")
    assert status == 1 and "too little to learn from" in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_value_of_the_recipe_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("training.rank", "training.rnk=3", "training.rank=x"):
        assert _run(capsys, "tune", "--dry-run", "--set", text)[0] == 2


def test_the_data_set_is_written_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _log(8, 4)
    status, out, _ = _run(capsys, "tune", "--export", str(tmp_path / "data"), "--json")
    assert status == 0 and json.loads(out)["files"]["kto"] > 0
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"sft.jsonl", "kto.jsonl", "dpo.jsonl"}


def test_adapters_are_listed_promoted_rolled_back_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").write_text("w")
    (tmp_path / "adapter_config.json").write_text("{}")
    model = ("--model", "smollm2-135m")
    assert json.loads(_run(capsys, "adapters", "list", "--json", *model)[1]) == []
    name = Registry("smollm2-135m").add(tmp_path, {"gate_passed": True, "data": {"judged": 60}}).name
    assert name in _run(capsys, "adapters", "list", *model)[1]
    status, out, _ = _run(capsys, "adapters", "promote", name[:-2], "--json", *model)
    assert (status, json.loads(out)) == (0, {"model": "smollm2-135m", "version": name, "hosts": []})
    [shown] = json.loads(_run(capsys, "adapters", "list", "--json", *model)[1])
    assert shown["current"] and shown["manifest"]["data"] == {"judged": 60}
    assert _run(capsys, "adapters", "remove", name, *model)[0] == 1
    assert json.loads(_run(capsys, "adapters", "rollback", "--json", *model)[1])["version"] == ""
    assert _run(capsys, "adapters", "remove", name, *model)[0] == 0
    assert _run(capsys, "adapters", "promote", "none", *model)[0] == 1
