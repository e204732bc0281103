"""What a row of the job table offers in each state, and that each of its buttons does it, where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_one

from tasks.engine import JobHuey, Permanent, RetryAfter, State

OFFERED = {
    State.SCHEDULED: {"run_now": State.WAITING, "cancel": State.CANCELLED},
    State.WAITING: {"cancel": State.CANCELLED},
    State.ACTIVE: {"cancel": State.ACTIVE},
    State.RETRYING: {"cancel": State.CANCELLED, "run_now": State.WAITING},
    State.COMPLETED: {},
    State.FAILED: {"retry": State.WAITING},
    State.CANCELLED: {"retry": State.WAITING},
}
ENDS = {"failed": Permanent("no"), "retrying": RetryAfter(3600, "later")}
_made: dict[str, Any] = {}


def stands(how: str = "") -> None:
    """End as it is told."""
    if how in ENDS:
        raise ENDS[how]


@pytest.fixture
def make(huey: JobHuey) -> Callable[[State], str]:
    """Make a job that is in a given state."""
    if not _made:
        _made["stands"] = huey.task(name="demo.stands", queue="maintenance", retries=1)(stands)

    def make(state: State) -> str:
        if state in (State.SCHEDULED, State.CANCELLED):
            job_id = str(_made["stands"].schedule(delay=3600).id)
            if state is State.CANCELLED:
                huey.commands.cancel([job_id])
            return job_id
        job_id = str(_made["stands"](state.value).id)
        if state is State.ACTIVE:
            assert huey.dequeue().id == job_id
        elif state is not State.WAITING:
            run_one(huey)
        return job_id

    return make


def acts(page: str) -> dict[str, str]:
    """Return {act: address} of the first row's buttons."""
    row = re.search(r"<tr data-href.*?</tr>", page, re.DOTALL)
    assert row
    return {
        address.rpartition("/")[2]: address
        for address in re.findall(r'form="row-act"[^>]* formaction="([^"]+)"', row[0])
    }


@pytest.mark.parametrize("state", OFFERED)
def test_a_row_offers_what_its_state_allows_and_does_it(
    admin: Browser, huey: JobHuey, make: Callable[[State], str], state: State
) -> None:
    here = f"/jobs?status={state.value}"
    make(state)
    assert set(acts(admin.get(here).text)) == set(OFFERED[state])
    for act, then in OFFERED[state].items():
        job_id = make(state)
        answer = admin.post(acts(admin.get(here).text)[act], {"next": here})
        assert (answer.status_code, answer.location) == (303, here)
        job = huey.reads.job(job_id)
        assert job.state is then
        assert bool(job.cancel_requested_at) == (state is State.ACTIVE)


def test_a_row_offers_nothing_to_who_may_only_look(
    enter: Callable[[str], Browser], make: Callable[[State], str]
) -> None:
    make(State.FAILED)
    viewer, operator = enter("viewer"), enter("operator")
    assert acts(viewer.get("/jobs?status=failed").text) == {}
    assert set(acts(operator.get("/jobs?status=failed").text)) == {"retry"}
