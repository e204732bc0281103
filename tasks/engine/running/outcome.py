"""What one attempt leaves behind, collected while Huey runs it and committed in one script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tasks.engine.errors import CancelRequested, Defer, Permanent, RetryAfter, Skip
from tasks.engine.running.failures import describe
from tasks.engine.storage import Handed
from tasks.engine.wording import one_line

Done = dict[str, Any] | list[Any]
GROUP_ONLY = ("title", "said", "place")


@dataclass(slots=True)
class Outcome:
    """The side effects of one attempt.

    `to` is where the job goes: completed, failed, cancelled, retry or release (no attempt burnt).
    `begun` and `closed` are of this process's monotonic clock, s. `sent`: Redis may have it.
    """

    job: Handed
    task: str = ""
    begun: float = 0.0
    ran_s: float = 0.0
    closed: float = 0.0
    to: str = ""
    kind: str = ""
    why: str = ""
    due_ms: int | None = None
    delay_ms: int | None = None
    at_probe: bool = False
    retries_left: int = 0
    in_body: bool = False
    skipped: bool = False
    result: bytes | None = None
    error: BaseException | None = None
    envelope: bytes | None = None
    kids: Sequence[tuple[dict[str, Any], bytes]] = ()
    puts: Sequence[tuple[str, bytes]] = ()
    chord: tuple[dict[str, Any], bytes, bytes] | None = None
    told: Mapping[str, Any] | None = None
    secrets: tuple[str, ...] = ()
    handler_id: str = ""
    unrevoke: bool = False
    hold: bool = False
    callback: Any = None
    failure: Mapping[str, str] | None = None
    sent: bool = False

    def spec(self, offset: int) -> tuple[Done, list[bytes]]:
        """Return what lib/commit takes and its blobs, the first at position `offset` + 1."""
        if self.just_completed():
            return self._short(offset + 1), [] if self.result is None else [self.result]
        return self._whole(offset)

    def _whole(self, offset: int) -> tuple[dict[str, Any], list[bytes]]:
        blobs: list[bytes] = []
        if self.error is not None and not self.failure:
            self.failure = describe(self.error, self.secrets)

        def blob(data: bytes | None) -> int | None:
            if data is None:
                return None
            blobs.append(data)
            return offset + len(blobs)

        done: dict[str, Any] = {
            "id": self.job.id, "T": self.job.token, "to": self.to, "outcome": self.kind,
            "n": self.used(), "ms": round(self.ran_s * 1000),
        }  # fmt: skip
        if not self.job.starts:
            done["b"] = self.begun_ms()
        if self.result is not None:
            done["res"] = blob(self.result)
        if self.to != "completed" or self.why:
            done.update(self._ending(blob))
        done.update(self._side_effects(blob))
        if self.chord:
            spec, value, callback = self.chord
            done["chord"] = {**spec, "res": blob(value), "env": blob(callback)}
        return done, blobs

    def used(self) -> int:
        """Return the attempts used, this one with them."""
        return max(0, self.job.allowed - 1 - self.retries_left)

    def just_completed(self) -> bool:
        """Tell whether it left nothing behind but a result."""
        left = self.why or self.kids or self.puts or self.told or self.chord
        return self.kind == "completed" and self.unrevoke and not (left or self.sent)

    def _short(self, place: int) -> list[Any]:
        begun = False if self.job.starts else self.begun_ms()
        return [self.job.id, self.job.token, self.used(),
                round(self.ran_s * 1000), begun, False if self.result is None else place]  # fmt: skip

    def _ending(self, blob: Callable[[bytes | None], int | None]) -> dict[str, Any]:
        """Return what only an attempt that did not simply complete leaves behind."""
        return _given({
            "why": one_line(self.why), "env": blob(self.envelope), "att": blob(self._attempt()),
            "delay": self.delay_ms, "due": self.due_ms, "probe": self.at_probe, "hold": self.hold,
            "err": self._failure(),
            "over": [blob(TOO_OFTEN), TOO_OFTEN_ERR] if self.kind == "deferred" else None,
        })  # fmt: skip

    def _side_effects(self, blob: Callable[[bytes | None], int | None]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.kids:
            found["kids"] = [[spec, blob(data)] for spec, data in self.kids]
        if self.puts:
            found["puts"] = [[key, blob(data)] for key, data in self.puts]
        if self.told:
            found["told"] = self.told
        if self.unrevoke:
            found["rv"] = True
        if self.sent:
            found["again"] = True
        return found

    def begun_ms(self) -> int:
        """Return when the job started, by Redis's clock as it was at the fetch, Unix ms."""
        if self.job.starts:
            return self.job.now_ms
        return self.job.now_ms + max(0, round((self.begun - self.job.at) * 1000))

    def _attempt(self) -> bytes | None:
        if self.error is None:
            note = {"reason": self.why} if self.why else None
        else:
            found = {n: v for n, v in (self.failure or {}).items() if n not in GROUP_ONLY}
            note = {**found, "reason": self.why}
        return json.dumps(note, ensure_ascii=False).encode() if note else None

    def _failure(self) -> list[str] | None:
        """Return what lib/groups keeps of a failed attempt; a cancelled one is no failure."""
        if self.error is None or self.kind not in ("failed", "retrying"):
            return None
        found = self.failure or {}
        return [found[n] for n in ("fingerprint", "type", "title", "place", "said")]


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in values.items() if v is not None and v is not False and v != ""}


DEFERRED = "it deferred more than 1 000 times"
TOO_OFTEN_ERR = ["DeferredTooOften", "DeferredTooOften", DEFERRED, ""]
TOO_OFTEN = json.dumps({
    "type": "DeferredTooOften", "message": DEFERRED, "traceback": "", "fingerprint": "DeferredTooOften",
}).encode()  # fmt: skip
RUNNING_OUTCOME: ContextVar[Outcome | None] = ContextVar("running_outcome", default=None)


SAYS = (RetryAfter, Defer, Permanent, Skip, CancelRequested)
