"""The JSON API of error groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import jsonify
from pydantic import Field

from dashboard import answers, shapes
from dashboard.api.calls import act, body, call, query, reads
from tasks.engine.operating.grouping import GROUP_STATES
from tasks.engine.records import ErrorGroup

ONE = "/api/admin/errors/<group>"


class Listing(shapes.Body):
    """The query of the list of error groups; without a state all are listed."""

    state: Literal["open", "muted", "resolved", "returned"] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Mute(shapes.Body):
    """Until when a group is muted; without it for good."""

    until: shapes.Instant | None = None


class Note(shapes.Body):
    """A note on a group."""

    note: Annotated[str, Field(max_length=1000)]


def group_json(group: ErrorGroup) -> dict[str, Any]:
    """Return one error group."""
    return {
        "id": group.id, "type": group.type, "message": group.title,
        "pattern": group.pattern, "place": group.place,
        "state": group.state, "since": answers.when(group.since_at),
        "muted_until": answers.when(group.muted_until), "returned_after_s": group.away_s,
        "first_at": answers.when(group.first_at), "last_at": answers.when(group.last_at),
        "times": group.times, "jobs": {state.value: n for state, n in group.jobs.items()},
        "tasks": dict(group.tasks), "last_job": group.last_job, "by": group.by, "note": group.note,
        "noted_by": group.noted_by, "noted_at": answers.when(group.noted_at),
        "hours": list(group.hours),
    }  # fmt: skip


@call("GET", "/api/admin/errors", "viewer", "Error groups, the newest failure first", query=Listing)
def errors() -> Any:
    asked = query(Listing)
    found = reads().error_groups((asked.state,) if asked.state else GROUP_STATES, asked.limit)
    return jsonify({"items": [group_json(g) for g in found.items], "counts": dict(found.counts)})


@call("GET", ONE, "viewer", "One error group; its jobs are found by q=group:{group}")
def error_group(group: str) -> Any:
    found = reads().error_group(group)
    return jsonify({**group_json(found), "minutes": list(found.minutes)})


@call("POST", f"{ONE}/mute", "operator", "Say nothing of a group until a time", body=Mute)
def mute_group(group: str) -> Any:
    return jsonify(group_json(act("mute_group", group, until=body(Mute).until).value))


@call("POST", f"{ONE}/resolve", "operator", "Call a group solved", body=shapes.Body)
def resolve_group(group: str) -> Any:
    body(shapes.Body)
    return jsonify(group_json(act("resolve_group", group).value))


@call("POST", f"{ONE}/reopen", "operator", "Open a group again", body=shapes.Body)
def reopen_group(group: str) -> Any:
    body(shapes.Body)
    return jsonify(group_json(act("reopen_group", group).value))


@call("POST", f"{ONE}/note", "operator", "Write a note on a group", body=Note)
def note_group(group: str) -> Any:
    return jsonify(group_json(act("note_group", group, note=body(Note).note).value))
