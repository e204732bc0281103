"""JSON by the C encoder and scanner is JSON as `json` has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine import codec
from tasks.engine.envelope import NotSerializable, dumps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, ascii_only=st.booleans())
def test_a_value_is_written_and_read_as_json_does(value: Any, ascii_only: bool) -> None:
    text = codec.encoder(ascii_only=ascii_only)(value)
    assert text == json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
    assert codec.decode(text) == value
    assert codec.decode(f" {text}\n") == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1] x", "nul", "{'a': 1}", "[1,]"])
def test_what_is_no_json_is_refused_as_json_does(text: str) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        codec.decode(text)


def test_a_value_that_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        codec.encoder(ascii_only=True)(object())


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotSerializable, match="nested too deep"):
        dumps(endless)
