"""Run the benchmarks, or the ones that are named; the long ones run only by their names."""

import sys

from benchmarks import bulk, enqueue, latency, memory, pages, reads, tabs, throughput
from benchmarks.drills import kill

TABLES = {
    "throughput": throughput.run,
    "aof": throughput.run_aof,
    "enqueue": enqueue.run,
    "latency": latency.run,
    "idle": latency.run_idle,
    "memory": memory.run,
    "reads": reads.run,
    "bulk": bulk.run,
    "tabs": tabs.run,
    "kill": kill.run,
}
LONG = {
    "memory-100k": lambda: memory.run(100_000),
    "memory-1m": lambda: memory.run(1_000_000),
    "pages": pages.run,
    "pages-1m": lambda: pages.run(pages.MILLION),
    "reads-1m": lambda: reads.run(reads.MILLION),
}

for name in sys.argv[1:] or TABLES:
    if name not in TABLES | LONG:
        sys.exit(f"there is no benchmark {name!r}; there are {', '.join(TABLES | LONG)}")
    (TABLES | LONG)[name]()
