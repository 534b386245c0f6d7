"""A stand-in for the workers of `mql evaluate`: instant, and as deterministic as they are."""

from __future__ import annotations

import os
import random
import signal
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from mql_ros.evaluation.cases import Case


def result_of(case: Case) -> dict[str, Any]:
    """A result such as run_case returns, from the case alone."""
    result: dict[str, Any] = {"new": [True] * case.new_trials}
    for method in case.methods:
        words = f"{case.object_name} {case.seed} {method} {case.new_trials}"
        rng = random.Random(zlib.crc32(words.encode()))
        found = {"effective_sample_size": rng.random(), "seconds": 0.1, "classifier_accuracy": None}
        result[method] = {
            "successes": [[rng.random() < 0.4 + 0.02 * case.new_trials for _ in range(case.test_trials)]],
            "adaptation": found if method == "mql" and case.new_trials else None,
        }
    return result


class FakeWorkers:
    """Hands results back in a random order; ends the process, as kill -9 does, after `killed_after` of them."""

    ran: int = 0
    killed_after: int | None = None

    def __init__(self, robot: str, processes: int) -> None:
        assert robot == "panda" and processes >= 1

    def __enter__(self) -> FakeWorkers:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def map_unordered(self, function: object, cases: Sequence[Case]) -> Iterator[tuple[int, dict[str, Any]]]:
        order = list(range(len(cases)))
        random.Random(len(cases)).shuffle(order)
        for count, number in enumerate(order):
            if count == FakeWorkers.killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
            FakeWorkers.ran += 1
            yield number, result_of(cases[number])
