"""The engine as a state machine: a model of its promises beside a real Redis, compared after every step.

Scripts are driven through storage, leases and commands, with Redis's clock replaced by the `now_ms`
that every script takes. Each rule says what the promise is; `check` reads the whole keyspace.

model.py is what the machine knows, world.py what each rule is made of; the rules lie by subject in
adding.py, taking.py, ending.py, living.py, operating.py and failing.py; engine.py holds what must
hold.
"""

from machine.engine import Engine
from machine.model import plan

__all__ = ["Engine", "plan"]
