"""JSON by the C encoder and scanner is JSON as `json` has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from huey.registry import Message
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine import codec, envelope
from tasks.engine.values import NotSerializable, dumps

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


TEXTS = st.text() | st.sampled_from([',"id":', '","id":"x', '{"$":1}'])


@given(
    name=TEXTS, queue=TEXTS, job_id=TEXTS, args=st.lists(VALUES | TEXTS, max_size=3).map(tuple),
    kwargs=st.dictionaries(TEXTS.filter(lambda name: name != "$"), VALUES | TEXTS, max_size=3),
    priority=st.none() | st.integers(), nested=st.booleans(),
)  # fmt: skip
def test_an_envelope_is_read_as_it_was_written(
    name: str, queue: str, job_id: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    priority: int | None, nested: bool,
) -> None:  # fmt: skip
    """Whether or not only id and arguments are its own, which is read by another way."""
    inner = Message("inner", "shop.then", args=(1,), kwargs={}) if nested else None
    message = Message(job_id, name, None, 0, 0, priority, args, kwargs, inner, retry_backoff=0)
    try:
        data = envelope.dump(message, queue=queue, secrets=frozenset(), names=(), cipher=None)
    except NotSerializable:  # half a letter
        return
    for _ in range(2):
        assert envelope.load(data) == (message, queue) == envelope._whole(data, None)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"v":1,"queue":"q","id":', b'{"v":2,"queue":"q","name":"n","id":"x","args":[],"kwargs":{}}',
     b'{"v":1,"queue":"q","id":"x","args":[],"kwargs":{},"colour":1}', b'{"v":1,"queue":"q","name":"n","id":"x"}'],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an envelope|version|line 1|Expecting"):
        envelope.load(data)
