"""What each call of the API is made of: the table of calls, checked bodies, the caller's acts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, abort, request
from pydantic import BaseModel

from dashboard import actions, auth
from dashboard.meaning import alike
from dashboard.problems import BadField
from tasks.engine import UnknownTask

bp = Blueprint("api", __name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One address of the API, as the OpenAPI document lists it."""

    method: str
    path: str
    name: str
    role: str
    summary: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200


CALLS: list[Call] = []


def call(method: str, path: str, role: str, summary: str, *, body: type[BaseModel] | None = None,
         query: type[BaseModel] | None = None, status: int = 200) -> Callable[[Any], Any]:  # fmt: skip
    """Register an address with the role it needs and the models that check it."""

    def register(view: Any) -> Any:
        view.role = role
        CALLS.append(Call(method, path, view.__name__, role, summary, body, query, status))
        bp.add_url_rule(path, view.__name__, view, methods=[method])
        return view

    return register


def body(model: type[BaseModel]) -> Any:
    """Return the checked body; an empty one is an empty object.

    Raises: BadField for what is no JSON object; ValidationError.
    """
    raw = request.get_data(cache=True)
    if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
        abort(413)  # sent in chunks, it is cut there and not refused
    if not raw.strip():
        return model.model_validate({})
    if not request.is_json:
        abort(415, "Content-Type: application/json is expected")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise BadField("body", f"this is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise BadField("body", "a JSON object is expected")
    return model.model_validate(found)


def query(model: type[BaseModel]) -> Any:
    """Return the checked query string. Raises ValidationError."""
    return model.model_validate(request.args.to_dict())


def act(name: str, target: str, **params: Any) -> actions.Result:
    """Do an action as whoever asks."""
    return actions.run(actions.huey(), auth.actor(), name, target, **params)


def reads() -> Any:
    """Return the engine's reads."""
    return actions.huey().reads


def queue_name(queue: str) -> str | None:
    """Return the queue an address names; None for `all`."""
    return None if queue == "all" else queue


def task_name(given: str, known: Collection[str]) -> str:
    """Return the task that an address names, whole or by its last parts as the search takes them.

    Raises: UnknownTask, saying what may be meant, where that is none or several.
    """
    found = [given] if given in known else [n for n in known if n.endswith(f".{given}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownTask(f"{given!r} ends {len(found)} tasks: say which, {' or '.join(sorted(found)[:5])}")  # fmt: skip
    words = {name: name for name in known} | {name.rpartition(".")[2]: name for name in known}
    meant = next(iter(alike(given, words, 1)), "")
    raise UnknownTask(f"there is no task {given!r} here{'. Did you mean ' + meant + '?' if meant else ''}")  # fmt: skip
