"""A wrong value in words: what is accepted, never what was given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks import faults


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    many: Annotated[int, Field(ge=1, le=500)] = 1
    name: Annotated[str, Field(max_length=3)] = ""
    sort: Literal["up", "down"] = "up"
    ids: list[str] = Field(default_factory=list)
    loud: bool = False
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a"


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"many": "x"}, "many", "a whole number is expected"),
        ({"many": 0}, "many", "at least 1 is expected"),
        ({"many": 501}, "many", "at most 500 is expected"),
        ({"name": "abcd"}, "name", "text of at most 3 characters is expected"),
        ({"sort": "x"}, "sort", "one of 'up' or 'down' is expected"),
        ({"ids": "x"}, "ids", "a list is expected"),
        ({"loud": "x"}, "loud", "true or false is expected"),
        ({"ids": [1]}, "ids.0", "text is expected"),
        ({"other": 1}, "other", "there is no such field"),
        ({"code": "918273"}, "code", "text of the form ^[a-z]+$ is expected"),
    ],
)
def test_each_fault_is_said_in_words(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as told:
        Wanted.model_validate(given)
    assert faults.fields(told.value) == [(field, words)]
