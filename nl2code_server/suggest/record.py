"""What the feedback log keeps of one request: its row and a row for each candidate, chosen or not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..feedback.events import CandidateRow, RequestRow
from ..feedback.identity import file_id, project_id

if TYPE_CHECKING:
    from ..feedback.log import FeedbackLog
    from .attempt import Attempt


def record(attempt: Attempt, feedback: FeedbackLog) -> None:
    """Queue the rows; never waits, never raises into the suggestion.

    Work that was begun in a pause of typing and given up is no request of anybody's.
    """
    if attempt.plan.job.trigger == "pause" and attempt.outcome == "cancelled":
        return
    feedback.record_request(_request(attempt))
    if attempt.candidates:
        feedback.record_candidates(_candidates(attempt))


def _request(attempt: Attempt) -> RequestRow:
    suggester, plan = attempt.suggester, attempt.plan
    job, prompt = plan.job, plan.prompt
    messages = [{"role": role, "content": content} for role, content in prompt.messages]
    if attempt.capabilities.prefill:
        messages.append({"role": "assistant", "content": prompt.prefill})
    answers = [candidate.answer for candidate in attempt.candidates]
    first = answers[0] if answers else None
    return RequestRow(
        request_id=attempt.request_id,
        time=attempt.time,
        session_id=suggester.session_id,
        surface=job.surface,
        trigger=job.trigger,
        client=suggester.client,
        instruction=job.instruction.text,
        kind=job.instruction.kind,
        file_id=file_id(job.snapshot.uri),
        project_id=project_id(suggester.project),
        prompt_version=prompt.version,
        prompt_hash=prompt.hash,
        messages=messages,
        model=attempt.capabilities.model,
        adapter=attempt.capabilities.adapter,
        engine=attempt.capabilities.server,
        temperature=first.sampling.temperature if first else 0.0,
        top_p=first.sampling.top_p if first else 1.0,
        seed=first.sampling.seed if first else None,
        max_tokens=suggester.settings.max_tokens,
        n=len(answers),
        context={
            "sizes": plan.sizes,
            "place": plan.placement.place,
            "detected": job.instruction.reason,
            "depth": prompt.frame.depth,
            "lines": len(job.snapshot.lines),
        },
        seconds=round(attempt.seconds, 3),
        first_token_seconds=round(first.first_token_seconds, 3) if first else 0.0,
        completion_tokens=attempt.tokens,
        outcome=attempt.outcome,
        reason=attempt.reason,
    )


def _candidates(attempt: Attempt) -> list[CandidateRow]:
    ranks = {candidate.id: rank for rank, candidate in enumerate(attempt.offered)}
    return [
        CandidateRow(
            candidate_id=candidate.id,
            request_id=attempt.request_id,
            choice_index=index,
            rank=ranks.get(candidate.id, -1),
            n_candidates=len(attempt.candidates),
            raw=candidate.answer.raw,
            text=candidate.code,
            status=candidate.status,
            verdicts=[asdict(check) for check in candidate.checks],
            examples=[asdict(run) for run in candidate.examples],
            logprob_sum=candidate.answer.logprob,
            n_tokens=candidate.answer.tokens,
            temperature=candidate.answer.sampling.temperature,
            seed=candidate.answer.sampling.seed,
            finish_reason=candidate.answer.finish_reason,
            origin=candidate.origin,
        )
        for index, candidate in enumerate(attempt.candidates)
    ]
