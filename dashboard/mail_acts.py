"""What is done to mails that are held. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dashboard.asking import Ask, Refused, Result, could_not
from tasks import emails
from tasks.engine import Outcome, UnknownJob, Unreachable

AWAY = "Redis cannot be reached: release it again"


def _release(ask: Ask) -> Result:
    """Release held mails, `ids` or the one that the target names; what cannot go is said of each."""
    ids: Sequence[int] = ask.params.get("ids") or (int(ask.target),)
    outcomes = _each_released(ids, ask.actor.name)
    done = sum(outcome.done for outcome in outcomes)
    if not done and outcomes:
        raise Refused(f"Nothing released: {outcomes[0].detail}")
    went = f"{done} mail{'' if done == 1 else 's'} go{'es' if done == 1 else ''} after all"
    said = went + could_not(outcomes)
    return Result(message=said, outcomes=outcomes)


def _each_released(ids: Sequence[int], by: str) -> list[Outcome]:
    """Release one after the other, until Redis is away. Raises Unreachable where none went."""
    outcomes: list[Outcome] = []
    for email_id in ids:
        try:
            outcomes.append(_released(email_id, by))
        except Unreachable:
            if not any(outcome.done for outcome in outcomes):
                raise
            break
    left = ids[len(outcomes) :]
    return outcomes + [Outcome(id=str(one), done=False, detail=AWAY) for one in left]


def _released(email_id: int, by: str) -> Outcome:
    """Release one; `id` is the mail's. Raises Unreachable."""
    try:
        return replace(emails.release(email_id, by=by), id=str(email_id))
    except (UnknownJob, emails.NotHeld) as exc:
        return Outcome(id=str(email_id), done=False, detail=str(exc))


DO: Mapping[str, Callable[[Ask], Result]] = {"release": _release}
