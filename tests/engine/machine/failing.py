"""What happens to the server: scripts forgotten, memory full, a failover that loses writes."""

from __future__ import annotations

import copy

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from machine.world import World


class Failing(World):
    """What a server may do to us."""

    @rule()
    def script_flush(self) -> None:
        self.client.script_flush()
        self.client.function_flush()

    @rule(steps=st.integers(1, 5))
    def memory_full(self, steps: int) -> None:
        """For some steps only adding is refused."""
        self.full = True
        self.client.config_set("maxmemory", "1")
        self.soon.append((self.steps + steps, self._room_again))

    def _room_again(self) -> None:
        self.full = False
        self.client.config_set("maxmemory", "0")

    @rule()
    def save(self) -> None:
        """A replica has got everything up to here."""
        keys = list(
            self.client.scan_iter(self.huey.storage.keys.prefix.replace("[", "\\[") + "*", 1000)
        )
        dumps = [(key, self.client.dump(key), max(0, self.client.pttl(key))) for key in keys]
        self.saved = dumps, copy.deepcopy(self.model)

    @precondition(lambda self: self.saved is not None and not self.full)
    @rule()
    def roll_back(self) -> None:
        """It takes over: what came since is gone, and every process believes what it believed."""
        dumps, self.model = self.saved
        self.saved = None
        self.huey.storage.flush_all()
        for key, data, ttl in dumps:
            self.client.restore(key, ttl, data, replace=True)
        for proc in self.procs:
            self.zombies += [(proc, h) for h in proc.handed.values() if not self._ours(h, proc)]
