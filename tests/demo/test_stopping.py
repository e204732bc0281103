"""A signal may come at any moment, also while the wish that it brings is waited for."""

from __future__ import annotations

import subprocess
import sys

from waiting import PATIENCE_S

from demo.parts import ROOT

HEARS = """
import signal
from demo.stopping import Flag

flag, heard = Flag(), 0

def hear(*_):
    global heard
    heard += 1
    flag.set()

assert not flag.wait(0)
signal.signal(signal.SIGALRM, hear)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
assert flag.wait(), "it is woken"
while heard < 3000:
    flag.wait(0.001)
    flag._is_set = False
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signal_within_the_wait_for_it_holds_nobody_up() -> None:
    done = subprocess.run([sys.executable, "-c", HEARS], cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
