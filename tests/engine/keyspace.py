"""Everything an instance has in Redis, read in one call; and what must hold of it at every moment."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tasks.engine import JobHuey, State
from tasks.engine.keys import PREFIXED, SINGLE
from tasks.engine.rows import parse_final

LIVE = ("scheduled", "waiting", "active", "retrying")
FINAL = ("completed", "failed", "cancelled")
DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'string' then value = redis.call('GET', key) end
  found[#found + 1] = {key, kind, value, redis.call('PTTL', key)}
end
return found
"""


def pairs(flat: list[bytes]) -> dict[str, str]:
    return {
        flat[i].decode(errors="replace"): flat[i + 1].decode(errors="replace")
        for i in range(0, len(flat), 2)
    }


@dataclass
class Keyspace:
    """One instance's keys by kind (as in keys.py) and name."""

    kinds: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    ttl: dict[tuple[str, str], int] = field(default_factory=dict)

    def one(self, kind: str) -> Any:
        return self.kinds[kind].get("", {})

    def all(self, kind: str) -> dict[str, Any]:
        return self.kinds[kind]


def _kind(name: str) -> tuple[str, str]:
    """Return a key's kind and the rest of its name."""
    for kind, own in SINGLE.items():
        if name == own:
            return kind, ""
    for kind, start in sorted(PREFIXED.items(), key=lambda item: -len(item[1])):
        if name.startswith(start):
            return kind, name[len(start) :]
    return "?", name


def read(huey: JobHuey) -> Keyspace:
    """Return the whole keyspace of a small instance."""
    prefix = huey.storage.keys.prefix
    found = Keyspace()
    for key, kind, value, ttl in huey.storage.client.eval(
        DUMP, 0, prefix.replace("[", "\\[") + "*"
    ):
        where = _kind(key.decode()[len(prefix) :])
        data = value
        if kind in (b"zset", b"hash"):
            data = pairs(value)
        elif kind == b"set":
            data = {item.decode() for item in value}
        found.kinds[where[0]][where[1]] = data
        found.ttl[where] = ttl
    return found


def faults(space: Keyspace) -> list[str]:
    """Return every way in which the indexes and the truth disagree (I1 to I3, I6, I13)."""
    return [
        *_in_one_set(space), *_live_jobs(space), *_unique_keys(space), *_final_jobs(space), *_held(space),
        *_children(space), *_orphans(space),
    ]  # fmt: skip


def states(space: Keyspace) -> dict[str, tuple[str, str]]:
    """Return {job id: (queue, state)} as the job records say."""
    found = {name: (job.get("q", ""), job.get("s", "")) for name, job in space.all("job").items()}
    for name, text in space.all("final").items():
        job = parse_final(text)[0]
        found[name] = (job["q"], job["s"])
    return found


def _in_one_set(space: Keyspace) -> list[str]:
    seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, members in space.all("state").items():
        queue, _, state = name.rpartition(":")
        for job_id in members:
            seen[job_id].append((queue, state))
    truth, found = states(space), []
    for job_id, where in truth.items():
        if seen[job_id] != [where]:
            found.append(f"{job_id} is {where} and lies in {seen[job_id]}")
    found += [
        f"{job_id} lies in {seen[job_id]} and has no job"
        for job_id in seen
        if seen[job_id] and job_id not in truth
    ]
    scores = Counter(s for members in space.all("state").values() for s in members.values())
    found += [f"two changes share the score {score}" for score, n in scores.items() if n > 1]
    return found


def _live_jobs(space: Keyspace) -> list[str]:
    found = []
    waiting = {(i, q) for q, members in space.all("waiting").items() for i in members}
    for kind in ("parked", "side"):
        for name, members in space.all(kind).items():
            waiting |= {(i, space.all("job").get(i, {}).get("q", name)) for i in members}
    due = set(space.one("due")) | set(space.one("handoff"))
    for job_id, job in space.all("job").items():
        if job_id in space.all("final"):
            found.append(f"{job_id} is live and final")
        if job_id not in space.all("envelope"):
            found.append(f"{job_id} has no envelope")
        if ((job_id, job["q"]) in waiting) != (job["s"] == "waiting"):
            found.append(
                f"{job_id} is {job['s']}; in the waiting set: {(job_id, job['q']) in waiting}"
            )
        if (job_id in due) != (job["s"] in ("scheduled", "retrying")):
            found.append(f"{job_id} is {job['s']}; in the due set: {job_id in due}")
    found += [f"{i} waits in {q} and has no job" for i, q in waiting if i not in space.all("job")]
    found += [f"{i} is due and has no job" for i in due if i not in space.all("job")]
    return found


def _unique_keys(space: Keyspace) -> list[str]:
    found = []
    for job_id, job in space.all("job").items():
        if job.get("u") and space.all("unique").get(job["u"]) != job_id.encode():
            found.append(f"{job_id} is live and its unique key is not its own")
    return found


def _final_jobs(space: Keyspace) -> list[str]:
    found = []
    for job_id in space.all("final"):
        for kind in ("job", "envelope", "progress"):
            if job_id in space.all(kind):
                found.append(f"{job_id} is final and has a {kind}")
    return found


def _held(space: Keyspace) -> list[str]:
    found, held = [], Counter()
    for proc, jobs in space.all("held").items():
        for job_id, token in jobs.items():
            held[job_id] += 1
            job = space.all("job").get(job_id, {})
            if (job.get("s"), job.get("T"), job.get("o")) != ("active", token, proc):
                found.append(f"{proc} holds {job_id} with {token}, the job says {job}")
    for job_id, job in space.all("job").items():
        if job["s"] == "active" and held[job_id] != 1:
            found.append(f"{job_id} is active and held {held[job_id]} times")
        if job["s"] != "active" and "T" in job:
            found.append(f"{job_id} is {job['s']} and has a token")
    return found


def _children(space: Keyspace) -> list[str]:
    jobs = {name: parse_final(text)[0] for name, text in space.all("final").items()}
    jobs |= space.all("job")
    named: dict[str, dict[str, str]] = defaultdict(dict)
    changed = {i: score for members in space.all("state").values() for i, score in members.items()}
    for job_id, job in jobs.items():
        if job.get("by"):
            named[job["by"]][job_id] = changed.get(job_id, "")
    found = {name: members for name, members in space.all("children").items() if members}
    return [] if found == named else [f"{named} were queued by somebody, {found} are named"]


def _orphans(space: Keyspace) -> list[str]:
    known = set(space.all("job")) | set(space.all("final"))
    found = [
        f"envelope of {i} without job" for i in space.all("envelope") if i not in space.all("job")
    ]
    for kind in ("attempts", "logs", "progress"):
        found += [f"{kind} of {i} without job" for i in space.all(kind) if i not in known]
    for name, members in space.all("index").items():
        found += [f"index {name} names {i}, which is gone" for i in members if i not in known]
    for name, holder in space.all("unique").items():
        if space.all("job").get(holder.decode(), {}).get("u") != name:
            found.append(f"unique key {name} is held by {holder!r}, which does not live with it")
    for queue, members in space.all("wake").items():
        if len(members) > 1:
            found.append(f"the wake set of {queue} has {len(members)} members")
    return found


def standing(huey: JobHuey) -> dict[str, int]:
    """Return the standing counts: {queue|task|state: jobs}."""
    reply = huey.storage.client.hgetall(huey.storage.keys.one("counts"))
    return {name.decode(): int(n) for name, n in reply.items()}


def counted(huey: JobHuey) -> dict[str, int]:
    """Recount what stands, from the jobs themselves."""
    found: dict[str, int] = {}
    for state in State:
        for queue in huey.reads.names():
            key = huey.storage.keys.of("state", f"{queue}:{state.value}")
            for member in huey.storage.client.zrange(key, 0, -1):
                job = huey.reads.job(member.decode())
                name = f"{queue}|{job.task}|{state.value}"
                found[name] = found.get(name, 0) + 1
    return found
