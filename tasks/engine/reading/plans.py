"""How a filter is answered: the smallest set of indexes that holds every match, and what is left to test.

The index of a task, error group, tag or batch holds jobs that rest (scheduled, retrying, failed,
cancelled); those that wait, run or are completed are walked by state and queue beside it. The index of
a declared argument holds all, and so does that of who queued a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tasks.engine.errors import EngineError, UnknownQueue
from tasks.engine.keys import digest
from tasks.engine.reading import matching
from tasks.engine.records import JobFilter, State, Term

if TYPE_CHECKING:
    from tasks.engine.job_huey import JobHuey

RESTING = (State.SCHEDULED, State.RETRYING, State.FAILED, State.CANCELLED)
FOUND_BY = ("task", "group", "tag", "batch")
Key = str | tuple[str, ...]
"""A set of jobs by time of change; several are those that stand in each of them."""
Sizes = Callable[[Sequence[Key]], Sequence[int]]
CROSSED_QUEUES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """Which keys to walk, and what to ask of each job met there; `of` is how many those are."""

    keys: Sequence[Key]
    of: int = 0
    failed: Sequence[Key] = ()  # those of `keys` whose jobs have failed, where that is known
    tests: Sequence[dict[str, Any]] = ()
    needles: Sequence[str] = ()
    narrow: matching.Test | None = None

    @property
    def is_exact(self) -> bool:
        """Tell whether every job met matches."""
        return not self.tests and self.narrow is None


@dataclass(frozen=True, slots=True)
class Way:
    """One way to meet every match: the keys, and the fields that need no test any more."""

    keys: Sequence[Key]
    failed: Sequence[Key] = ()
    answered: Sequence[Term] = field(default_factory=tuple)


class Planner:
    """Chooses the way for one filter."""

    def __init__(self, huey: JobHuey, wanted: JobFilter, names: Sequence[str]) -> None:
        self.huey, self.keys, self.names = huey, huey.storage.keys, names
        self.terms = matching.terms_of(wanted)
        self.queues = self._allowed("queue", names)
        allowed = [State(s) for s in self._allowed("state", [s.value for s in State])]
        has_error = any(term.field == "error" and not term.negated for term in self.terms)
        self.states = [s for s in allowed if s is not State.COMPLETED or not has_error]

    def _allowed(self, name: str, all_of_them: Sequence[str]) -> list[str]:
        """Return what the terms of a field leave. Raises UnknownQueue or EngineError."""
        left = list(all_of_them)
        for term in self.terms:
            if term.field != name:
                continue
            for value in term.values:
                if value not in all_of_them:
                    wrong = UnknownQueue if name == "queue" else EngineError
                    raise wrong(f"there is no {name} {value!r}; there are {', '.join(all_of_them)}")
            left = [v for v in left if (v in term.values) != term.negated]
        return left

    def plan(self, sizes: Sizes) -> Plan:
        """Return the way that meets the fewest jobs; one call tells how many each has."""
        ways = [*self._ways(), *self._crossed()]
        every = [key for way in ways for key in way.keys]
        counted = dict(zip(every, sizes(every), strict=True))
        ways = [way for way in ways if all(counted[key] >= 0 for key in way.keys)]
        best = min(ways, key=lambda way: (sum(counted[k] for k in way.keys), len(self._left(way))))
        left = self._left(best)
        return Plan(
            keys=[key for key in best.keys if counted[key]],
            of=sum(counted[key] for key in best.keys),
            failed=[key for key in best.failed if counted[key]],
            tests=[matching.script_test(t) for t in left if t.field in matching.BY_FIGURES],
            needles=matching.needles(left), narrow=matching.reader_test(left, self.huey.parameters),
        )  # fmt: skip

    def _left(self, way: Way) -> list[Term]:
        return [term for term in self.terms if term not in way.answered]

    def _ways(self) -> Iterable[Way]:
        scope = [term for term in self.terms if term.field in ("queue", "state")]
        yield Way(
            self._of_states(self.states), self._of_states(s for s in self.states if s == "failed"), scope
        )  # fmt: skip
        for term in self.terms:
            if term.negated:
                continue
            if term.field in FOUND_BY:
                yield from self._found_by(term)
            elif (index := self._whole(term)) is not None:
                yield Way(index, (), self._whole_scope(term, scope))

    def _whole_scope(self, term: Term, scope: Sequence[Term]) -> list[Term]:
        """Return what an index of every state answers: the term, and the scope where it is everything."""
        everything = len(self.states) == len(State) and len(self.queues) == len(self.names)
        return [term, *(scope if everything else ())]

    def _of_states(self, states: Iterable[State]) -> list[str]:
        return [
            self.keys.of("state", f"{queue}:{state.value}")
            for state in states
            for queue in self.queues
        ]

    def _found_by(self, term: Term) -> Iterable[Way]:
        """Walk an index over the resting states, and the other states as they are."""
        values = self._tasks(term.values) if term.field == "task" else list(term.values)
        resting = [state for state in self.states if state in RESTING]
        if not values or not resting:
            return
        found = {
            s: [self.keys.of("found", f"{s.value}:{term.field}:{v}") for v in values]
            for s in resting
        }
        rest = self._of_states(state for state in self.states if state not in RESTING)
        if term.field == "group":  # only a job that rests after a failure has one
            rest = []
        answered = [t for t in self.terms if t.field == "state"]
        if not rest:
            answered.append(term)
        if len(self.queues) == len(self.names):
            answered += [t for t in self.terms if t.field == "queue"]
        keys = [key for keys in found.values() for key in keys]
        yield Way([*keys, *rest], found.get(State.FAILED, ()), answered)

    def _crossed(self) -> Iterable[Way]:
        """Let Redis say which jobs stand in two or more indexes: it looks each of the smallest set up."""
        named = [
            t for t in self.terms if t.field in FOUND_BY and not t.negated and len(t.values) == 1
        ]
        values = {t: self._tasks(t.values) if t.field == "task" else t.values for t in named}
        terms = [term for term in named if len(values[term]) == 1]
        some = len(self.queues) < len(self.names)
        grouped = any(term.field == "group" for term in terms)
        states = [state for state in self.states if state in RESTING]
        if (
            not states
            or not terms
            or len(terms) + some < 2
            or (some and len(self.queues) > CROSSED_QUEUES)
        ):
            return
        if not grouped and len(states) < len(self.states):
            return
        found: dict[State, list[Key]] = {}
        for state in states:
            indexes = [
                self.keys.of("found", f"{state.value}:{t.field}:{values[t][0]}") for t in terms
            ]
            of_queues = self._of_states([state]) if some else []
            found[state] = [(*indexes, key) for key in of_queues] or [tuple(indexes)]
        answered = [*terms, *(term for term in self.terms if term.field in ("queue", "state"))]
        yield Way(
            [key for keys in found.values() for key in keys], found.get(State.FAILED, ()), answered
        )

    def _tasks(self, values: Sequence[str]) -> list[str]:
        """Return the whole names that the values mean; none when one of them is no task's."""
        found: list[str] = []
        for value in values:
            names = [n for n in self._known_tasks if n == value or n.endswith(f".{value}")]
            if not names:
                return []
            found += names
        return list(dict.fromkeys(found))

    @cached_property
    def _known_tasks(self) -> list[str]:
        """Return the tasks registered here, and those of which there are jobs: others may queue them."""
        counted = self.huey.storage.call("HKEYS", self.keys.one("counts"))  # queue|task|state
        return sorted(
            {*self.huey.reads.tasks(), *(name.split(b"|")[1].decode() for name in counted)}
        )

    def _whole(self, term: Term) -> list[str] | None:
        """Return the keys of an index that holds every match, whatever its state; None without one."""
        if term.field == "by":
            return [self.keys.of("children", value) for value in dict.fromkeys(term.values)]
        return self._argument(term)

    def _argument(self, term: Term) -> list[str] | None:
        """Return the index keys of an argument that every task with it declares; None without one."""
        name = "to" if term.field == "to" else term.field.removeprefix("args.")
        if (term.field != "to" and name == term.field) or any("*" in v for v in term.values):
            return None
        kinds = self.huey._registry._registry.values()
        having = [kind for kind in kinds if name in getattr(kind, "job_names", ())]
        if not having or not all(name in (getattr(kind, "index", None) or ()) for kind in having):
            return None
        spelled = dict.fromkeys(v for value in term.values for v in (value, value.lower()))
        return [self.keys.of("index", digest(name, value)) for value in spelled]
