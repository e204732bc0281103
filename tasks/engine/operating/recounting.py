"""The recount: do the standing counts (jobs per queue, task and state) say what the sets hold?

It reads and adds by lua/recount.lua, a few milliseconds a call, while jobs move on.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.engine.records import State
from tasks.engine.storage import JobStorage

WHAT = "a count that differs from its jobs"
STRETCH = 1_000
SETTLED = 2_000
SMALL = 1_000
TRIES = 20
SETS_AT_ONCE, TASKS_AT_ONCE = 200, 2_000


@dataclass
class Stretch:
    """Members of a set up to a score: how many there are, and of each task."""

    upto: str
    size: int
    tasks: dict[str, int]


@dataclass
class Place:
    """Where a recount stands: the sets to do, and of the first: what was read of it.

    A set is its queue, its state, and the tasks that have a count there.
    """

    todo: list[tuple[str, str, list[str]]]
    read: list[Stretch] = field(default_factory=list)
    again: list[int] = field(default_factory=list)  # stretches that lost members meanwhile
    whole: bool = True  # what was not read yet may be few enough to settle at once
    tries: int = 0

    def text(self) -> str:
        """Return it as JSON, for another process to go on from."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Place:
        """Return what `text` said."""
        found = json.loads(text)
        found["todo"] = [(queue, state, tasks) for queue, state, tasks in found["todo"]]
        found["read"] = [Stretch(**stretch) for stretch in found["read"]]
        return cls(**found)

    def next_set(self) -> None:
        """Begin with the set after this one."""
        self.todo.pop(0)
        self.read, self.again, self.whole, self.tries = [], [], True, 0


class Recount:
    """Compares the counts with the sets, and mends by adding the difference.

    A set that changes too fast to be settled is left for another time after 20 tries.
    """

    def __init__(self, storage: JobStorage) -> None:
        self.storage = storage

    def begin(self, *, each: bool) -> Place:
        """Find the sets to look into: `each`, or those that are small or whose sum is wrong.

        Cost: a call for each 200 sets or 2 000 counts.
        """
        tasks = self._tasks()
        names = self.storage.call("SMEMBERS", self.storage.keys.one("queues"))
        queues = {name.decode() for name in names}
        sets = {(queue, state.value) for queue in queues for state in State} | tasks.keys()
        place = Place([])
        for chunk in _chunks([(*key, tasks.get(key, [])) for key in sorted(sets)]):
            for one, (members, counted) in zip(chunk, self._ask("sums", chunk), strict=True):
                if members != int(counted) or each or 0 < members <= SMALL:
                    place.todo.append(one)
        return place

    def all(self, *, mend: bool) -> Counter[str]:
        """Recount every set now. Returns: how often what was found. Raises Unreachable."""
        place = self.begin(each=True)
        return self.go_on(place, mend=mend)

    def go_on(self, place: Place, *, mend: bool, calls: int | None = None) -> Counter[str]:
        """Recount from `place`, which moves on, in so many calls (None: until nothing is to do)."""
        found: Counter[str] = Counter()
        while place.todo and calls != 0:
            calls = calls and calls - 1
            if place.again:
                self._read_again(place, place.again.pop(0))
            elif not place.whole:
                self._read_on(place)
            else:
                found += self._settle(place, mend=mend)
        return found

    def _tasks(self) -> dict[tuple[str, str], list[str]]:
        """Return the tasks that have a count in each set."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in self._counts():
            queue, _, rest = name.partition("|")
            task, _, state = rest.rpartition("|")
            found[queue, state].append(task)
        return found

    def _counts(self) -> set[str]:
        found, cursor = set[str](), "0"
        while True:
            reply = self.storage.call(
                "HSCAN", self.storage.keys.one("counts"), cursor, "COUNT", 500
            )
            cursor, fields = str(int(reply[0])), reply[1]
            found |= {
                name.decode() for name in (fields if isinstance(fields, dict) else fields[::2])
            }
            if cursor == "0":
                return found

    def _read(self, place: Place, above: str, upto: str) -> Stretch:
        queue, state, _ = place.todo[0]
        ask = {"q": queue, "s": state, "above": above, "upto": upto, "most": STRETCH}
        size, highest, tasks = self._ask("read", ask)
        return Stretch(highest.decode(), size, _pairs(tasks))

    def _read_on(self, place: Place) -> None:
        found = self._read(place, f"({place.read[-1].upto}" if place.read else "-inf", "+inf")
        place.whole = found.size < STRETCH
        if found.size:
            place.read.append(found)

    def _read_again(self, place: Place, number: int) -> None:
        above = f"({place.read[number - 1].upto}" if number else "-inf"
        found = self._read(place, above, place.read[number].upto)
        place.read[number] = Stretch(place.read[number].upto, found.size, found.tasks)

    def _settle(self, place: Place, *, mend: bool) -> Counter[str]:
        """Compare, if what changed since it was read can be read in one call; else read that again."""
        queue, state, known = place.todo[0]
        place.tries += 1
        there = sum((Counter(stretch.tasks) for stretch in place.read), Counter[str]())
        ask = {"q": queue, "s": state, "most": SETTLED, "tasks": [*known, *there],
               "highest": [s.upto for s in place.read], "sizes": [s.size for s in place.read]}  # fmt: skip
        added, changed, counted = self._ask("settle", ask)
        if not added:
            self._look_again(place, [number - 1 for number in changed])
            return Counter()
        for number, _, tasks in changed:
            there.update(_pairs(tasks))
            if number <= len(place.read):
                there.subtract(place.read[number - 1].tasks)
        counts = _pairs(counted)
        wrong = {task: (n, there[task]) for task, n in counts.items() if n != there[task]}
        if wrong and mend and not self._add(queue, state, wrong, added.decode()):
            self._look_again(place, [])  # somebody else did
            return Counter()
        place.next_set()
        return Counter({WHAT: len(wrong)} if wrong else {})

    def _look_again(self, place: Place, numbers: Sequence[int]) -> None:
        if place.tries >= TRIES:
            place.next_set()
            return
        place.again = [number for number in numbers if number < len(place.read)]
        place.whole = len(place.read) not in numbers

    def _add(self, queue: str, state: str, wrong: dict[str, tuple[int, int]], added: str) -> bool:
        more = {f"{queue}|{task}|{state}": there - n for task, (n, there) in wrong.items()}
        found = [f"{WHAT}\t{queue}|{task}|{state}: {n} counted, {there} there"
                 for task, (n, there) in sorted(wrong.items())]  # fmt: skip
        return bool(self._ask("add", {"added": added, "more": more, "found": found}))

    def _ask(self, verb: str, ask: Any) -> Any:
        return self.storage.repeat("recount", 0, verb, json.dumps(ask))


def _pairs(flat: Sequence[Any]) -> dict[str, int]:
    return {flat[n].decode(): int(flat[n + 1]) for n in range(0, len(flat), 2)}


def _chunks(
    sets: Sequence[tuple[str, str, list[str]]],
) -> Iterator[list[tuple[str, str, list[str]]]]:
    chunk, tasks = list[tuple[str, str, list[str]]](), 0
    for one in sets:
        if chunk and (len(chunk) == SETS_AT_ONCE or tasks + len(one[2]) > TASKS_AT_ONCE):
            yield chunk
            chunk, tasks = [], 0
        chunk.append(one)
        tasks += len(one[2])
    if chunk:
        yield chunk
