"""The engine's promises as a state machine; see machine/.

The stories are the same each time, so that a suite fails for what changed; `make soak` tells others,
and more of them. MACHINE_EXAMPLES, MACHINE_STEPS and MACHINE_SEED (`random`: another each time) change
their number, their length and which they are.
A story that fails is made shorter (minutes) where MACHINE_SHRINK is set.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Engine


@pytest.fixture(autouse=True)
def _logging_again() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow(reason="thirty stories of forty steps")
def test_the_promises_hold_after_every_step_of_any_story(redis_url: str) -> None:
    logging.disable(logging.CRITICAL)  # it tells of faults that are meant
    wanted = os.environ.get("MACHINE_SEED") or "20261128"
    number = random.SystemRandom().randrange(1 << 32) if wanted == "random" else int(wanted)
    sys.stdout.write(f"MACHINE_SEED={number}\n")  # shown when it fails
    Engine.url = redis_url
    run_state_machine_as_test(
        seed(number)(Engine),
        settings=settings(
            max_examples=int(os.environ.get("MACHINE_EXAMPLES") or 30),
            stateful_step_count=int(os.environ.get("MACHINE_STEPS") or 40),
            phases=[Phase.generate, Phase.shrink] if os.environ.get("MACHINE_SHRINK") else [Phase.generate],
            deadline=None, database=None, print_blob=True, report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
