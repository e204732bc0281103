"""The product's figures as Prometheus reads them: text format 0.0.4, written by hand.

Names, units and labels as Prometheus' conventions ask: seconds, `_total` on counters alone, few and
bounded labels. Counters come from totals that never go down, whatever a roll-up or a restart does.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping

import huey as huey_package

from dashboard.health import View
from tasks.database import utcnow
from tasks.engine import JobHuey
from tasks.engine.figures.metrics import Figures, bucket_ms, bucket_top_ms

TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = tuple(range(0, 61, 4))  # 1 ms, 4 ms, 16 ms ... 12 days: every fourth bucket's top
Labels = Mapping[str, str]
Totals = Mapping[tuple[str, str], Figures]


def escape(value: str) -> str:
    """Return a label's value with backslash, quote and line feed escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def line(name: str, labels: Labels, value: float) -> str:
    """Return one sample."""
    inside = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
    shown = f"{value:.15g}"
    return f"{name}{{{inside}}} {shown}" if inside else f"{name} {shown}"


def family(
    name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]
) -> Iterator[str]:
    """Yield a metric: what it is, and its samples."""
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield line(name, labels, value)


def histogram(
    name: str, about: str, found: Iterable[tuple[Labels, Mapping[int, int]]]
) -> Iterator[str]:
    """Yield histograms; the sum is taken from the buckets' middles."""
    yield f"# HELP {name} {about} The sum is taken from the buckets' middles."
    yield f"# TYPE {name} histogram"
    for labels, buckets in found:
        whole = sum(buckets.values())
        for bound in BOUNDS:
            below = sum(n for bucket, n in buckets.items() if bucket <= bound)
            top = f"{bucket_top_ms(bound) / 1000:.9g}"
            yield line(f"{name}_bucket", {**labels, "le": top}, below)
        yield line(f"{name}_bucket", {**labels, "le": "+Inf"}, whole)
        total_s = sum(bucket_ms(bucket) * n for bucket, n in buckets.items()) / 1000
        yield line(f"{name}_sum", labels, total_s)
        yield line(f"{name}_count", labels, whole)


def text(huey: JobHuey, view: View, version: str, mails: Mapping[str, int]) -> str:
    """Return everything; from the view alone while Redis is away."""
    lines = [
        *family("jobdeck_build_info", "gauge", "The version that answers.",
                [({"version": version, "python": platform.python_version(), "huey": huey_package.__version__}, 1)]),
        *family("jobdeck_redis_up", "gauge", "Whether Redis answers.", [({}, 0 if view.error else 1)]),
        *family("jobdeck_outbox_jobs", "gauge", "Jobs that wait in the outbox.", [({}, view.outbox_waiting)]),
        *family("jobdeck_healthy", "gauge", "Whether a check of the overview is well.",
                [({"check": check.name}, check.status == "healthy") for check in view.checks]),
        *family("jobdeck_alerts_firing", "gauge", "Alert rules that fire and are not muted.", [({}, view.firing)]),
        *family("jobdeck_emails", "gauge", "Mails in the log, by state.",
                [({"state": state}, n) for state, n in mails.items()]),
    ]  # fmt: skip
    if not view.error and view.snapshot is not None:
        lines += [*_queues(view), *_workers(huey), *_jobs(huey.reads.totals()), *_redis(huey)]
    return "\n".join(lines) + "\n"


def _queues(view: View) -> Iterator[str]:
    queues = view.snapshot.queues if view.snapshot else []
    yield from family("jobdeck_queue_jobs", "gauge", "Jobs of a queue in a state.", [
        ({"queue": queue.name, "state": state.value}, n) for queue in queues for state, n in queue.counts.items()
    ])  # fmt: skip
    yield from family("jobdeck_queue_oldest_waiting_seconds", "gauge", "Age of the oldest waiting job.",
                      [({"queue": queue.name}, queue.oldest_waiting_s or 0) for queue in queues])  # fmt: skip
    yield from family("jobdeck_queue_paused", "gauge", "Whether a queue is paused.",
                      [({"queue": queue.name}, queue.paused) for queue in queues])  # fmt: skip
    yield from family("jobdeck_smtp_circuit_open", "gauge", "Whether a queue's breaker holds it up.",
                      [({"queue": queue.name}, queue.breaker is not None) for queue in queues])  # fmt: skip


def _workers(huey: JobHuey) -> Iterator[str]:
    workers, now = huey.reads.workers(), utcnow()
    states = ("live", "quiet", "stopping", "dead")
    yield from family("jobdeck_workers", "gauge", "Worker processes, by state.", [
        ({"state": state}, sum(worker.state == state for worker in workers)) for state in states
    ])  # fmt: skip
    yield from family("jobdeck_worker_heartbeat_age_seconds", "gauge", "Since a worker said it lives.", [
        ({"worker": f"{worker.host}:{worker.pid}"}, max(0.0, (now - worker.seen_at).total_seconds()))
        for worker in workers if worker.state != "dead"
    ])  # fmt: skip


def _jobs(totals: Totals) -> Iterator[str]:
    tasks = {name: found for name, found in totals.items() if name[1]}
    yield from family("jobdeck_jobs_enqueued_total", "counter", "Jobs added.", [
        ({"queue": queue, "task": task}, found.enqueued) for (queue, task), found in tasks.items()
    ])  # fmt: skip
    outcomes = ("completed", "failed", "cancelled", "retried", "recovered")
    yield from family("jobdeck_jobs_total", "counter", "Attempts and ends of jobs, by outcome.", [
        ({"queue": queue, "task": task, "outcome": outcome}, getattr(found, outcome))
        for (queue, task), found in tasks.items() for outcome in outcomes
    ])  # fmt: skip
    yield from histogram("jobdeck_job_duration_seconds", "How long attempts ran.", [
        ({"queue": queue, "task": task}, found.runs) for (queue, task), found in tasks.items() if found.runs
    ])  # fmt: skip
    yield from histogram("jobdeck_queue_wait_seconds", "How long jobs waited, ready to started.",
                         [({"queue": queue}, waits) for queue, waits in _waits(tasks).items()])  # fmt: skip
    web = totals.get(("", ""))
    if web is not None:
        yield from family("jobdeck_api_requests_total", "counter", "Measured calls of the academy and of POST /api/email.",
                          [({}, web.observed.get("api:n", 0))])  # fmt: skip
        yield from family("jobdeck_api_seconds_total", "counter", "Their server time.",
                          [({}, web.observed.get("api:ms", 0) / 1000)])  # fmt: skip


def _waits(tasks: Totals) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for (queue, _), seen in tasks.items():
        mine = found.setdefault(queue, {})
        for bucket, n in seen.waits.items():
            mine[bucket] = mine.get(bucket, 0) + n
    return found


def _redis(huey: JobHuey) -> Iterator[str]:
    server = huey.reads.server()
    yield from family(
        "jobdeck_redis_used_memory_bytes", "gauge", "Memory Redis uses.", [({}, server.used_memory)]
    )
    yield from family(
        "jobdeck_redis_max_memory_bytes",
        "gauge",
        "Memory Redis may use, 0 is no limit.",
        [({}, server.max_memory)],
    )
    yield from family(
        "jobdeck_redis_faults",
        "gauge",
        "Settings of Redis that may lose jobs.",
        [({}, len(server.faults))],
    )
