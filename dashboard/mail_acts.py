"""What is done to mails that are held. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dashboard.asking import Ask, Refused, Result
from tasks import emails
from tasks.engine import Outcome, UnknownJob


def _release(ask: Ask) -> Result:
    """Release held mails, `ids` or the one that the target names; what cannot go is said of each."""
    ids: Sequence[int] = ask.params.get("ids") or (int(ask.target),)
    outcomes = [_released(email_id, ask.actor.name) for email_id in ids]
    done = sum(outcome.done for outcome in outcomes)
    if not done and outcomes:
        raise Refused(f"Nothing released: {outcomes[0].detail}")
    left = f"; {len(outcomes) - done} could not" if done < len(outcomes) else ""
    said = f"{done} mail{'' if done == 1 else 's'} go{'es' if done == 1 else ''} after all{left}"
    return Result(message=said, outcomes=outcomes)


def _released(email_id: int, by: str) -> Outcome:
    """Release one; `id` is the mail's. Raises Unreachable."""
    try:
        return replace(emails.release(email_id, by=by), id=str(email_id))
    except (UnknownJob, emails.NotHeld) as exc:
        return Outcome(id=str(email_id), done=False, detail=str(exc))


DO: Mapping[str, Callable[[Ask], Result]] = {"release": _release}
