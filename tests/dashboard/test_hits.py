"""Whom an error group hit: read on as jobs come, and anew when others go or change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from driving import run_one

from dashboard import hits
from dashboard.hits import Hit, Hits, failed
from tasks.engine import JobHuey, Permanent

Fail = Callable[..., str]


@pytest.fixture
def fail(huey: JobHuey) -> Any:
    """Return what fails a job for an address, and returns its id."""

    @huey.task(name="hits.mailing", queue="maintenance")
    def mailing(type: str, to: str) -> None:  # noqa: A002
        raise Permanent("554 5.7.1 blocked")

    def fail(to: str) -> str:
        job_id: str = mailing("welcome", to).id
        run_one(huey)
        return job_id

    yield fail
    huey._registry.unregister(mailing.task_class)


class Looker:
    """Looks at the only group, and counts how often all of it is read."""

    def __init__(self, huey: JobHuey) -> None:
        self.huey, self.hits, self.whole = huey, Hits(huey), 0
        read = self.hits._read_all

        def counted(group: str) -> Any:
            self.whole += 1
            return read(group)

        self.hits._read_all = counted  # type: ignore[method-assign]

    def look(self) -> Hit:
        """Return what a look tells; it has to be what a fresh process would tell."""
        group = self.huey.reads.error_groups().items[0].id
        page = self.huey.reads.jobs(failed(group), None, 5)
        found = self.hits.of(group, page)
        assert found == Hits(self.huey).of(group, page)
        return found


def test_jobs_that_come_are_read_alone(huey: JobHuey, fail: Fail) -> None:
    looker = Looker(huey)
    for n in range(3):
        fail(f"Person{n}@a.example")
    assert looker.look().by["Recipient domain"] == Counter({"a.example": 3})
    fail("ada@b.example")
    assert looker.look() is looker.look()
    fail("bob@b.example")
    found = looker.look()
    assert found.people == {
        "person0@a.example",
        "person1@a.example",
        "person2@a.example",
        "ada@b.example",
        "bob@b.example",
    }
    assert found.by["Recipient domain"] == Counter({"a.example": 3, "b.example": 2})
    assert looker.whole == 1


@pytest.mark.parametrize("change", ["goes", "goes and one comes"])
def test_a_job_that_goes_or_changes_lets_all_be_read_anew(
    huey: JobHuey, fail: Fail, change: str
) -> None:
    looker = Looker(huey)
    ids = [fail(f"person{n}@a.example") for n in range(4)]
    looker.look()
    huey.commands.delete([ids[1]])
    if change == "goes and one comes":
        fail("zoe@z.example")
    looker.look()
    assert looker.whole == 2


@pytest.mark.parametrize("how", ["by an act here", "after a while"])
def test_a_job_that_gets_other_arguments_is_seen(
    huey: JobHuey, fail: Fail, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    looker = Looker(huey)
    ids = [fail(f"person{n}@a.example") for n in range(2)]
    looker.look()
    huey.commands.patch([ids[0]], "to", "zoe@z.example")
    if how == "after a while":
        monkeypatch.setattr(hits, "KEPT_S", -1.0)
    else:
        looker.hits.forget()
    assert looker.look().people == {"zoe@z.example", "person1@a.example"}


def test_only_the_newest_jobs_are_looked_at(
    huey: JobHuey, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "LOOKED_AT", 4)
    monkeypatch.setattr(hits, "AT_ONCE", 2)
    looker = Looker(huey)
    for n in range(5):
        fail(f"person{n}@a.example")
    assert looker.look().people == {f"person{n}@a.example" for n in (1, 2, 3, 4)}
    fail("person5@a.example")
    assert looker.look().people == {f"person{n}@a.example" for n in (2, 3, 4, 5)}
    assert looker.whole == 1
    for n in range(6, 9):
        fail(f"person{n}@a.example")
    assert looker.look().people == {f"person{n}@a.example" for n in (5, 6, 7, 8)}
    assert looker.whole == 2  # more came than are read at once
