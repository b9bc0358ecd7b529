"""What the client is told about the state of the server."""

from __future__ import annotations

from nl2code_server.lsp.status import Board, Report, State

PROBLEM = Report(State.PROBLEM, "nobody answers", "start the server")


def test_a_problem_stands_until_something_succeeds() -> None:
    told: list[Report] = []
    warned: list[str] = []
    board = Board(told.append, warned.append)
    for outcome in (PROBLEM, PROBLEM, Report(State.READY)):
        board.begin("job")
        board.end("job", outcome)
    assert [report.state for report in told] == [
        State.WORKING,
        State.PROBLEM,
        State.WORKING,
        State.PROBLEM,
        State.WORKING,
        State.READY,
    ]
    assert warned == ["nl2code: nobody answers - start the server"]


def test_of_several_jobs_the_newest_is_told() -> None:
    told: list[Report] = []
    board = Board(told.append, lambda _: None)
    board.begin("host", State.STARTING, "loading")
    board.begin("job")
    board.begin("job")
    board.end("job", Report(State.READY))
    assert board.report == Report(State.STARTING, "loading")
    board.end("host")
    board.end("host")
    assert [report.message or report.state.value for report in told] == [
        "loading",
        "working",
        "loading",
        "ready",
    ]


def test_a_job_that_was_taken_back_says_nothing_about_how_things_are() -> None:
    board = Board(lambda _: None, lambda _: None)
    board.begin("job")
    board.end("job", PROBLEM)
    board.begin("job")
    board.end("job")
    assert board.report == PROBLEM
