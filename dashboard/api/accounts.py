"""Operators and tokens."""

from __future__ import annotations

from typing import Any

from flask import jsonify

from dashboard import accounts, answers, auth, shapes
from dashboard.api.calls import act, body, call
from dashboard.models import Operator


@call("GET", "/api/admin/operators", "admin", "Operators")
def operators() -> Any:
    return jsonify({"items": [_operator(o) for o in accounts.operators()]})


def _operator(found: Operator) -> dict[str, Any]:
    return {"id": found.id, "email": found.email, "role": found.role, "disabled": bool(found.disabled_at),
            "created_at": answers.when(found.created_at)}  # fmt: skip


@call(
    "POST",
    "/api/admin/operators",
    "admin",
    "Give a person a login",
    body=shapes.NewOperator,
    status=201,
)
def create_operator() -> Any:
    given = body(shapes.NewOperator)
    made = act("create_operator", given.email, role=given.role, password=given.password).value
    return jsonify(_operator(made)), 201


@call("PATCH", "/api/admin/operators/<int:operator_id>", "admin", "Change a person's role, password or access",
      body=shapes.ChangedOperator)  # fmt: skip
def change_operator(operator_id: int) -> Any:
    given = body(shapes.ChangedOperator)
    email = accounts.by_id(operator_id).email
    if given.password is not None:  # before anything is changed, and set where all else was
        auth.check_password(given.password)
    if given.role is not None:
        act("set_role", email, role=given.role)
    if given.disabled is not None:
        act("disable" if given.disabled else "enable", email)
    if given.password is not None:
        act("reset_password", email, password=given.password)
    return jsonify(_operator(accounts.by_id(operator_id)))


@call("GET", "/api/admin/tokens", "admin", "API tokens")
def tokens() -> Any:
    return jsonify({"items": [_token(row) for row in auth.tokens()]})


def _token(row: Any) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "prefix": row.prefix, "role": row.role, "owner": row.owner,
            "created_at": answers.when(row.created_at), "last_used_at": answers.when(row.last_used_at),
            "revoked_at": answers.when(row.revoked_at)}  # fmt: skip


@call(
    "POST",
    "/api/admin/tokens",
    "admin",
    "Make an API token; shown this once",
    body=shapes.NewToken,
    status=201,
)
def create_token() -> Any:
    given = body(shapes.NewToken)
    owner = auth.owner_of(auth.actor())
    token, row = act("create_token", given.name, role=given.role, owner=owner).value
    return jsonify({**_token(row), "token": token}), 201


@call("DELETE", "/api/admin/tokens/<int:token_id>", "admin", "End an API token", status=204)
def revoke_token(token_id: int) -> Any:
    act("revoke_token", str(token_id))
    return "", 204
