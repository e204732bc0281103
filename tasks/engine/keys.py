"""Every Redis key name, once. The scripts say `K.<kind>`; sources.py fills in the names.

All keys of one instance carry one hash tag, `{name}:`, so they live in one cluster slot.

| key             | type   | holds |
| meta            | hash   | schema, seq (order and tokens), clock (last change, us) |
| queues          | set    | names of the queues ever used |
| q:<queue>       | hash   | options (configured and live), pause, breaker, rate bucket |
| w:<queue>       | zset   | waiting: score = (100 - priority) * 2^40 + seq |
| s:<reason>      | zset   | waiting, but its task or tag is paused: score as in w: |
| pauses          | hash   | paused tasks and tags: t:<task>, g:<tag> -> until, since, by, reason |
| due             | zset   | scheduled and retrying of all queues: score = due time, ms |
| handoff         | zset   | due jobs lent to Huey's own scheduler: score = when to take them back, ms |
| x:<queue>:<st>  | zset   | every job of that queue and state: score = time of the change, us, unique |
| n:<index>       | zset   | a declared argument's jobs (index = 16 hex), score as above |
| y:<by>          | zset   | the jobs that a job (its id) or a person queued, score as above |
| f:<st>:<field>:<value> | zset | resting jobs (scheduled, retrying, failed, cancelled) by task, group, tag or batch |
| j:<id>          | hash   | a live job's figures (each value under 64 bytes, so that it stays compact) |
| e:<id>          | string | a live job's envelope |
| d:<id>          | string | a final job: figures, envelope and result, joined |
| a:<id>          | list   | attempts worth a record (all but a plain first success) |
| l:<id>          | list   | log lines |
| g:<id>          | string | progress |
| t:<id>          | list   | operations that touched the job: id, ms, kind; at most the last 20 |
| k:<id>          | hash   | marks, kept 7 days apart from the job |
| r:<id>          | string | a result put outside a commit (intermediate errors, pipelines) |
| i:<id>          | string | "this outbox row was pushed", 48 h |
| u:<hash>        | string | unique key -> id of the live job |
| c:<cid>         | hash   | chord: member index -> result |
| v:<key>         | string | Huey's data: revocations, locks, rate windows |
| groups          | zset   | error groups: score = last failure, ms |
| eg:<group>      | hash   | an error group: class, title, place, counts, what was decided about it |
| es:<group>      | hash   | its failures a minute (m<minute>, 3 h) and an hour (h<hour>, 7 days) |
| b:<id>          | hash   | a batch: total, members by state, callback (lib/batch); 30 days after its end |
| batches         | zset   | batches: score = when they were made, ms |
| adding          | zset   | batches that jobs are added to: score = last heard of who adds them, ms |
| wake:<queue>    | zset   | one member: there is work |
| procs           | zset   | worker processes: score = end of lease, ms |
| p:<proc>        | hash   | a process: host, pid, kind, queues, slots, version, wish |
| h:<proc>        | hash   | jobs a process holds: id -> token |
| dj:<proc>       | list   | what was recovered from a dead process: id, state; a day |
| suspects        | zset   | processes seen expired once: score = when, ms |
| dead            | zset   | processes found dead in the last day: score = when, ms |
| cron            | hash   | periodic task -> last fired minute; `<task>|job` -> its job; `<task>|off` |
| tk:<task>       | hash   | its last 30 ticks: due ms -> outcome, job, run ms, ended |
| counts          | hash   | queue|task|state -> jobs in that state now |
| m:<minute>      | hash   | counters and histograms of a minute, 49 h |
| m10:<n>, mh:<n> | string | the same of ten minutes (14 d) and of an hour (400 d), packed |
| tr:<task>       | list   | the last 60 runs of a task: id, ms, outcome, when |
| rolled          | hash   | the last ten minutes and the last hour that were rolled up |
| totals          | string | every counter since the beginning, up to the last roll-up, packed |
| events          | zset   | versions of workers first seen: score = when, ms |
| fsck, fsck:last | hash, list | where the check of all keys and counts stands, and its last 50 findings |
| ops, op:<id>, oi:<id>, oe:<id> | zset, hash, list, list | operations: order, record, ids (given, or found by a search), events |
| oo:<id>, os:<id>, of:<id> | list | an operation's outcomes: of all jobs, of the skipped, ids that failed again |
"""

from __future__ import annotations

import hashlib
import re

SCHEMA = 1  # raised when an older worker could no longer run beside: it drains and says so
PREFIXED = {
    "queue": "q:",
    "waiting": "w:",
    "parked": "s:",
    "state": "x:",
    "index": "n:",
    "children": "y:",
    "found": "f:",
    "group": "eg:",
    "spark": "es:",
    "wake": "wake:",
    "job": "j:",
    "envelope": "e:",
    "final": "d:",
    "attempts": "a:",
    "logs": "l:",
    "progress": "g:",
    "touched": "t:",
    "marks": "k:",
    "result": "r:",
    "pushed": "i:",
    "unique": "u:",
    "chord": "c:",
    "value": "v:",
    "ticks": "tk:",
    "batch": "b:",
    "proc": "p:",
    "held": "h:",
    "buried": "dj:",
    "minute": "m:",
    "tens": "m10:",
    "runs": "tr:",
    "hour": "mh:",
    "op": "op:",
    "op_ids": "oi:",
    "op_events": "oe:",
    "op_outcomes": "oo:",
    "op_skipped": "os:",
    "op_failed": "of:",
}
SINGLE = {
    "meta": "meta",
    "counts": "counts",
    "rolled": "rolled",
    "totals": "totals",
    "events": "events",
    "queues": "queues",
    "pauses": "pauses",
    "due": "due",
    "handoff": "handoff",
    "groups": "groups",
    "procs": "procs",
    "suspects": "suspects",
    "dead": "dead",
    "cron": "cron",
    "batches": "batches",
    "adding": "adding",
    "ops": "ops",
    "fsck": "fsck",
    "fsck_last": "fsck:last",
}

# A job's figures, in the order in which a final job's line has them; lua/lib/move.lua says what each is.
FIGURES = ("t", "q", "p", "c", "d", "b", "f", "n", "m", "k", "rn", "o", "u", "ix", "w", "by",
           "why", "tg", "rq", "cu", "eg", "bt", "pt", "ch")  # fmt: skip


def newer(schema: int) -> str:
    """Say that the jobs in Redis are of a version after this one."""
    return f"the jobs in Redis have schema {schema} and this version knows {SCHEMA}"


def kind_of(name: str) -> tuple[str, str]:
    """Return (kind, rest of the name) of a key without its prefix; ("", name) when it is none of ours."""
    for kind, own in SINGLE.items():
        if name == own:
            return kind, ""
    for kind, start in PREFIXED.items():
        if name.startswith(start):
            return kind, name[len(start) :]
    return "", name


class Keys:
    """Build the key names of one instance."""

    def __init__(self, name: str) -> None:
        self.prefix = "{" + name + "}:"

    def one(self, kind: str) -> str:
        """Name a key that exists once, such as `meta`."""
        return self.prefix + SINGLE[kind]

    def of(self, kind: str, name: str) -> str:
        """Name the key of `kind` that belongs to `name`."""
        return self.prefix + PREFIXED[kind] + name


def digest(name: str, value: object) -> str:
    """Shorten an indexed argument or a unique key to 16 hex, so that no value enters a key name."""
    return hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:16]


KEY = re.compile(r"\bK\.(\w+)")
FIGURES_OF = re.compile(r"\bFIGURES_OF\((\w+)\)")


def lua_filled(text: str) -> str:
    """Fill the names into a script: `K.<kind>`, `FIGURE_NAMES` and `FIGURES_OF(job)`, a line of them.

    `P` is the prefix, KEYS[1]. A script that computes the kind of a key gets a table `K`.
    """
    table = ",".join(f"{kind}={_lua_key(kind)}" for kind in SINGLE | PREFIXED)
    head = "local P=KEYS[1]\n" + (f"local K={{{table}}}\n" if "K[" in text else "")
    names = ",".join(f"'{name}'" for name in FIGURES)
    text = text.replace("FIGURE_NAMES", f"{{{names}}}")
    text = FIGURES_OF.sub(lambda found: _lua_line(found[1]), text)
    return head + KEY.sub(lambda found: _lua_key(found[1]), text)


def _lua_key(kind: str) -> str:
    return f"P..'{(SINGLE | PREFIXED)[kind]}'"


def _lua_line(job: str) -> str:
    return "..'\\t'..".join(f"({job}.{name} or '')" for name in FIGURES)
