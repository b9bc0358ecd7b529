"""`nl2code bench server` on one small file: it measures what it says, and ends with one line of JSON."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from nl2code_model.bench import server as bench
from nl2code_model.cli import bench as command


def test_bench_server_prints_a_table_and_a_json_line() -> None:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["bench", "server", "--lines", "100", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    table, _, line = done.stdout.strip().rpartition("\n")
    assert "bare pygls" in table
    assert "cores" in table
    results = json.loads(line)["results"]
    by_name = {(row["measure"], row["server"]): row for row in results}
    for measure in bench.MEASURES:
        ours, bare = by_name[measure.key, "nl2code"], by_name[measure.key, "bare pygls"]
        assert ours["median"] > 0
        assert abs(ours["ratio"] - ours["median"] / bare["median"]) < 0.1
    for server in ("nl2code", "bare pygls"):
        assert by_name["first_answer", server]["median"] > by_name["initialize", server]["median"] > 10


def test_the_file_has_the_lines_asked_for_and_is_python() -> None:
    for lines in (100, 10_000):
        text = bench.source(lines)
        assert text.count("\n") == lines
        compile(text, "bench", "exec")
