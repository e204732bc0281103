"""The OpenAPI 3.1 document, from the table of calls and the models that check the requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dashboard import answer_schemas

VARIABLE = re.compile(r"<(?:(int|path|any\(([^)]*)\)):)?(\w+)>")
PROBLEM = {
    "type": "object", "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "properties": {
            "field": {"type": "string"}, "message": {"type": "string"}}}},
    },
}  # fmt: skip
FAULTS = {"401": "No credentials", "403": "The role does not cover it", "404": "Not found", "409": "The state does not allow it",
          "422": "A field is wrong", "503": "Redis or the database is away"}  # fmt: skip


def document(calls: Iterable[Any]) -> dict[str, Any]:
    """Return the whole document."""
    calls = list(calls)
    models = {m for c in calls for m in (c.body, c.query) if m}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(m, "validation") for m in ordered], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for one in calls:
        paths.setdefault(VARIABLE.sub(r"{\3}", one.path), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Jobdeck", "version": "0.1.0", "description": "Queues, jobs and mail of one instance."},
        "paths": paths, "security": [{"bearer": []}],
        "components": {
            "schemas": {**schemas.get("$defs", {}), **answer_schemas.schemas(), "Problem": PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def _operation(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": one.name, "summary": one.summary, "description": f"Needs the role {one.role}.",
        "parameters": [*_path(one.path), *_query(one.query)],
        "responses": {str(one.status): _done(one.name), **{status: _problem(text) for status, text in FAULTS.items()}},
    }  # fmt: skip
    if one.body:
        schema = {"$ref": f"#/components/schemas/{one.body.__name__}"}
        found["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return found


def _done(name: str) -> dict[str, Any]:
    """Describe what a call answers when it is done."""
    schema = answer_schemas.answer(name)
    if schema is not None:
        return {"description": "Done", "content": {"application/json": {"schema": schema}}}
    if name in answer_schemas.FILES:
        return {"description": "A file", "content": {answer_schemas.FILES[name]: {}}}
    return {"description": "Done"}


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }


def _path(path: str) -> list[dict[str, Any]]:
    found = []
    for kind, choices, name in VARIABLE.findall(path):
        schema: dict[str, Any] = {"type": "integer" if kind == "int" else "string"}
        if choices:
            schema["enum"] = [choice.strip() for choice in choices.split(",")]
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _query(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    properties = model.model_json_schema(ref_template="#/components/schemas/{model}").get(
        "properties", {}
    )
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]
