"""The OpenAPI document as a page: each call with its fields and a line to try it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GROUPS = {"jobs": "Jobs", "job": "Jobs", "email": "Mail", "emails": "Mail", "tokens": "Accounts", "operators": "Accounts",
          "operations": "Operations", "workers": "Workers", "errors": "Errors", "periodic": "Periodic tasks",
          "batches": "Batches", "tasks": "Tasks and tags", "tags": "Tasks and tags", "pauses": "Tasks and tags"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a call takes."""

    name: str
    where: str  # path, query or body
    takes: str
    needed: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One call as the page shows it; `reads` is an address to open, empty where it needs a value."""

    method: str
    path: str
    summary: str
    role: str
    status: str
    errors: tuple[str, ...]
    fields: tuple[Field, ...]
    reads: str
    curl: str


def grouped(document: Mapping[str, Any], base: str) -> list[tuple[str, list[Shown]]]:
    """Return the calls of an OpenAPI document by what they are about, `base` before each address."""
    found: dict[str, list[Shown]] = {}
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            found.setdefault(_group(path), []).append(_shown(document, base, path, method, call))
    return sorted(found.items())


def _group(path: str) -> str:
    if path.startswith("/api/admin/alerts"):
        return "Alerts"
    names = [part for part in path.split("/") if part in GROUPS]
    return GROUPS[names[0]] if names else "Queues"


def _shown(document: Mapping[str, Any], base: str, path: str, method: str,
           call: Mapping[str, Any]) -> Shown:  # fmt: skip
    fields = (*_parameters(call["parameters"]), *_body(document, call))
    done = [status for status in call["responses"] if status < "400"]
    reads = path if method == "get" and "{" not in path else ""
    return Shown(
        method.upper(), path, call["summary"], call["description"].removeprefix("Needs the role ").rstrip("."),
        ", ".join(done), tuple(s for s in call["responses"] if s >= "400"), fields, reads,
        _curl(base + path, method, [f for f in fields if f.where == "body"]),
    )  # fmt: skip


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> list[Field]:
    return [Field(p["name"], p["in"], takes(p["schema"]), p["required"]) for p in parameters]


def _body(document: Mapping[str, Any], call: Mapping[str, Any]) -> list[Field]:
    if "requestBody" not in call:
        return []
    name = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    needed = schema.get("required", ())
    return [
        Field(field, "body", takes(of), field in needed)
        for field, of in schema.get("properties", {}).items()
    ]


def takes(schema: Mapping[str, Any]) -> str:
    """Say in words what a schema accepts."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(takes(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].lower()
    said = str(schema.get("type", "any value"))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        said += f", {low} to {high}"
    if "maxLength" in schema:
        said += f", at most {schema['maxLength']} characters"
    return said


def _curl(address: str, method: str, fields: list[Field]) -> str:
    parts = [f'curl -s {address} -H "Authorization: Bearer $TOKEN"']
    if method != "get":
        parts.append(f"-X {method.upper()}")
    if fields:
        needed = [field for field in fields if field.needed] or fields[:1]
        body = ", ".join(f'"{field.name}": …' for field in needed)
        parts.append(f"-H 'Content-Type: application/json' -d '{{{body}}}'")
    return " \\\n  ".join(parts)
