"""Huey's own tests, loaded from its wheel and run on JobHuey over a real Redis.

Nothing of them is copied: one factory is replaced, so that each test gets our class.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

MODULES = ("api", "consumer", "priority", "signals", "registry", "asyncio", "wrappers")
OWN_FACTORY = ("TestDisableResultStore", "TestStoreIntermediateErrors", "TestCustomErrorMetadata")
COUNTER = itertools.count()
PARTS = 3


def factory(url: str, **options: Any) -> Any:
    """Return a fresh, empty JobHuey, its keys its own."""
    from tasks.engine import JobHuey

    name = f"suite{os.getpid()}-{next(COUNTER)}"
    huey = JobHuey(name, url=url, utc=False, read_timeout=0.01, **options)
    huey.flush()
    return huey


def load(url: str, **options: Any) -> unittest.TestSuite:
    """Return every test of the suite that runs on JobHuey made with `options`."""
    os.environ["HUEY_SLOW_TESTS"] = "1"
    import huey.tests.base as base
    from huey.tests.test_storage import StorageTests

    base.SLOW_TESTS = True
    base.BaseTestCase.get_huey = lambda self: factory(url, **options)
    suite = unittest.TestSuite()
    loader = unittest.defaultTestLoader
    for name in MODULES:
        module = importlib.import_module(f"huey.tests.test_{name}")
        for case in vars(module).values():
            ours = isinstance(case, type) and issubclass(case, unittest.TestCase)
            if ours and case.__module__ == module.__name__:
                suite.addTests(loader.loadTestsFromTestCase(_on_ours(case, url, options)))
    storage = type("TestJobStorage", (StorageTests, base.BaseTestCase), {"destructive_reads": True})
    suite.addTests(loader.loadTestsFromTestCase(storage))
    return suite


def _on_ours(case: Any, url: str, options: dict[str, Any]) -> Any:
    """Give the classes that make a Huey of their own the same one in our class."""
    if case.__name__ not in OWN_FACTORY:
        return case
    extra: dict[str, Any] = {}
    if case.__name__ == "TestDisableResultStore":
        extra["results"] = False
    if case.__name__ == "TestStoreIntermediateErrors":
        extra["store_intermediate_errors"] = False
    made = lambda self: factory(url, **options, **extra)  # noqa: E731
    if case.__name__ == "TestCustomErrorMetadata":
        made = _custom_metadata(url, options)
    return type(case.__name__, (case,), {"get_huey": made})


def _custom_metadata(url: str, options: dict[str, Any]) -> Any:
    def get_huey(self: Any) -> Any:
        huey = factory(url, **options)
        plain = huey.build_error_result

        def build(task: Any, exception: BaseException) -> dict[str, Any]:
            return {**plain(task, exception), "name": task.name, "args": task.args}

        huey.build_error_result = build
        return huey

    return get_huey


def run(url: str, **options: Any) -> tuple[int, dict[str, str]]:
    """Run the suite in processes of their own: it wants the main thread and no running event loop.

    They run side by side, since most of the suite is waiting.
    Returns: how many ran, and {test: last lines of its failure}.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = [_start(url, options, part, Path(folder)) for part in range(PARTS)]
        said = [process.communicate()[1] for process in started]
        answers = [_answer(Path(folder) / f"{part}.json", said[part]) for part in range(PARTS)]
    bad = {name: text for _, found in answers for name, text in found.items()}
    return sum(ran for ran, _ in answers), bad


def _start(url: str, options: dict[str, Any], part: int, folder: Path) -> subprocess.Popen[str]:
    answer = str(folder / f"{part}.json")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, url, json.dumps(options), str(part), answer],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _answer(file: Path, said: str) -> tuple[int, dict[str, str]]:
    assert file.exists(), said
    ran, bad = json.loads(file.read_text())
    return ran, bad


def tests(suite: Any) -> Iterator[unittest.TestCase]:
    """Walk the tests of a suite."""
    for each in suite:
        yield from tests(each) if isinstance(each, unittest.TestSuite) else (each,)


def main(url: str, options: str, part: str, answer: str) -> None:
    """Run a part of the suite here; write what came of it to a file."""
    result = unittest.TestResult()
    chosen = list(tests(load(url, **json.loads(options))))[int(part) :: PARTS]
    unittest.TestSuite(chosen).run(result)
    bad = {case.id().rpartition(".")[2]: text for case, text in result.failures + result.errors}
    bad.update((case.id().rpartition(".")[2], why) for case, why in result.skipped)
    Path(answer).write_text(json.dumps([result.testsRun, bad]))
    os._exit(0)  # some of Huey's tests leave threads behind


if __name__ == "__main__":
    main(*sys.argv[1:])
