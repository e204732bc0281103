"""What others wrote into our Redis: foreign payloads, and newer versions of us."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from driving import run_all, state_of

from tasks.engine import JobHuey, State, new_id


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: b'{"v":1,' + data, lambda data: b""]
)
def test_a_planted_pickle_runs_nothing_and_fails_alone(
    huey: JobHuey, tmp_path: Path, wrap: Any
) -> None:
    good = huey.task(name="good")(lambda: "well")
    bad = new_id()
    data = wrap(pickle.dumps(Trap(tmp_path / "sprung")))
    huey.storage.add([({"id": bad, "q": "default", "t": "good", "p": 9, "m": 1}, data)])
    fine = good().id
    assert huey.dequeue() is None
    assert run_all(huey) == [fine]
    assert not (tmp_path / "sprung").exists()
    assert state_of(huey, bad) is State.FAILED
    huey.storage.put_data("planted", data)
    with pytest.raises(ValueError):
        huey.get("planted")
    assert not (tmp_path / "sprung").exists()
