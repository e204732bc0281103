"""Every address of the web process, filled in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

VALUES: dict[str, Any] = {
    "job_id": "01J0000000000000000000000A", "name": "email", "queue": "email", "token": "none",
    "operation_id": "none", "worker_id": "none", "email_id": 1, "address": "a@example.org",
    "token_id": 1, "operator_id": 1, "view_id": 1, "rule_id": 1, "channel_id": 1, "incident_id": 1, "what": "pause", "number": 1, "enrollment_id": 1, "payment_id": 1,
}  # fmt: skip


def rules(app: Flask, method: str) -> Iterator[tuple[Rule, str]]:
    """Give each route of a method with an address that it matches."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if method in (rule.methods or ()) and rule.endpoint != "static":
            values = {name: VALUES.get(name, "x") for name in rule.arguments}
            yield rule, _built(adapter, rule, values)


def _built(adapter: Any, rule: Rule, values: dict[str, Any]) -> str:
    for name, converter in rule._converters.items():
        if hasattr(converter, "items"):
            values[name] = sorted(converter.items)[0]
    return str(adapter.build(rule.endpoint, values, method=None))
