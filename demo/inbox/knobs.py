"""Faults on demand: what the inbox refuses, delays and drops, and for whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Phase = Literal["connect", "mail", "rcpt", "data", "body", "dot"]
PHASES: tuple[Phase, ...] = ("connect", "mail", "rcpt", "data", "body", "dot")
Refusal = Literal["connect", "rcpt4", "rcpt5", "data4"]
Seconds = Annotated[float, Field(ge=0, le=600)]


class Knobs(BaseModel):
    """The faults that are on.

    refuse: `connect` closes every connection, also those it had, `rcpt4` answers 451 and `rcpt5` 550 at RCPT, `data4`
    answers 451 after the final dot. delay_s: how long to wait in a phase. drop: the phase in which
    the connection is closed. domains: only for recipients there; None is everybody. The phases
    before RCPT know no recipient: with domains, they work for everybody.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    refuse: Refusal | None = None
    delay_s: dict[Phase, Seconds] = Field(default_factory=dict)
    drop: Phase | None = None
    domains: tuple[str, ...] | None = None

    @property
    def sentence(self) -> str:
        """Return what is on, in words."""
        said = {None: [], "connect": ["closes every connection"], "rcpt4": ["answers 451 at RCPT"],
                "rcpt5": ["answers 550 at RCPT"], "data4": ["answers 451 after the dot"]}[self.refuse]  # fmt: skip
        said = said + [f"waits {s:g} s at {phase}" for phase, s in self.delay_s.items() if s]
        said += [f"drops the connection at {self.drop}"] if self.drop else []
        whom = f" for {', '.join(self.domains)}" if self.domains else ""
        return f"{'; '.join(said)}{whom}" if said else ""

    def concerns(self, recipients: list[str]) -> bool:
        """Tell whether the faults are for one of these recipients; always so without `domains`."""
        if not self.domains or not recipients:
            return True
        return any(to.rpartition("@")[2].lower() in self.domains for to in recipients)


class KnobBox:
    """Holds the knobs; a change is one assignment, seen by the next command of every session."""

    def __init__(self) -> None:
        self.now = Knobs()
