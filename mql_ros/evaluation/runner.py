"""Runs the sessions of `mql evaluate` on all cores: with progress, and going on where an interrupted run stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import mql_ros
import mql_sim
from mql_ros.core.errors import UserError
from mql_ros.evaluation.suites import identity
from mql_ros.grasping.robot.profile import load_profile

if TYPE_CHECKING:
    from mql_ros.evaluation.cases import Case

LINE_EVERY = 30.0
"""Seconds between two lines of progress where they do not overwrite each other."""


def case_key(case: Case, bundle_hash: str, reference_hash: str | None = None) -> str:
    """What a result depends on, as one hash: the case's settings, the contents of bundles and object, the program."""
    facts = dataclasses.asdict(case) | {
        "bundle": bundle_hash,  # not where it lies
        "reference": reference_hash,
        "object": identity(case.object_name),
        "robot": load_profile(case.robot).sha256,
        "program": program_hash(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def program_hash() -> str:
    """SHA-256 of the program's sources: a result does not outlive a change of what made it."""
    digest = hashlib.sha256()
    for package in (mql_ros, mql_sim):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


class PartialResults:
    """Results of finished cases, one JSON line each, in FILE.partial.jsonl; without a FILE, in memory only."""

    def __init__(self, json_file: str | None) -> None:
        self.path = None if json_file is None else Path(f"{json_file}.partial.jsonl")
        self._results: dict[str, dict[str, Any]] = {}
        self._whole = True
        if self.path is not None and self.path.exists():
            try:
                text = self.path.read_text(errors="replace")
            except OSError as error:
                raise UserError(f"{self.path} cannot be read ({error.strerror}); remove it to begin anew") from error
            self._whole = text == "" or text.endswith("\n")
            for line in text.split("\n"):
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._results[row["key"]] = row["result"]
        except (ValueError, TypeError, KeyError):
            return  # cut off when the run was killed: that case is run again

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of a case that is finished already."""
        return self._results.get(key)

    def add(self, key: str, case: Case, result: dict[str, Any]) -> dict[str, Any]:
        """Keep a result; returns it as it will be read back. Raises UserError when it cannot be written."""
        row = {"object": case.object_name, "seed": case.seed, "new_trials": case.new_trials}
        line = json.dumps({"key": key, **row, "result": result})
        self._take(line)
        if self.path is not None:
            try:
                with open(self.path, "a") as stream:
                    stream.write(line + "\n" if self._whole else "\n" + line + "\n")
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError as error:
                raise UserError(f"{self.path} cannot be written ({error.strerror}); make room there") from error
            self._whole = True
        return self._results[key]

    def remove(self) -> None:
        """The whole is written: the parts are no longer needed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class Progress:
    """How far it is and how long it will take: one line that changes on a terminal, else a new one now and then."""

    def __init__(
        self, total: int, workers: int, stream: TextIO, clock: Callable[[], float] = time.monotonic, finished: int = 0
    ) -> None:
        self._total, self._workers, self._before = total, workers, finished
        self._stream, self._clock = stream, clock
        self._started = self._shown = clock()
        self.finished = finished

    def seconds_left(self) -> float | None:
        """Estimate from the cases finished in this run; None before the first."""
        done, rest = self.finished - self._before, self._total - self.finished
        # One worker has just begun anew; what the others are at is half done on average.
        halves = min(self._workers - 1, rest) / 2
        return (self._clock() - self._started) / (done + halves) * (rest - halves) if done else None

    def step(self) -> None:
        """One more is finished."""
        self.finished += 1
        left, last = self.seconds_left(), self.finished == self._total
        text = f"{self.finished}/{self._total} sessions"
        text += f", {duration(left)} left" if left and not last else ""
        if self._stream.isatty():
            print(f"\r{text:60}", end="\n" if last else "", file=self._stream, flush=True)
        elif last or self._clock() - self._shown >= LINE_EVERY:
            self._shown = self._clock()
            print(text, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """For people: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def run_cases(
    cases: Sequence[Case], bundle_hash: str, reference_hash: str | None, processes: int, partial: PartialResults
) -> tuple[list[dict[str, Any]], int]:
    """Results of all cases of a robot, in their order, however they were spread; and how many are of a run before."""
    from mql_ros.evaluation.cases import run_case
    from mql_ros.rollouts.workers import Workers

    keys = [case_key(case, bundle_hash, reference_hash) for case in cases]
    results = {key: found for key in keys if (found := partial.get(key)) is not None}
    resumed = len(results)
    if resumed:
        print(f"going on: {resumed} of {len(keys)} sessions are in {partial.path}", file=sys.stderr)
    missing = [(key, case) for key, case in zip(keys, cases, strict=True) if key not in results]
    if missing:
        processes = min(processes, len(missing))
        progress = Progress(len(keys), processes, sys.stderr, finished=resumed)
        with _left_to_this_process(signal.SIGINT):
            pool = Workers(cases[0].robot, processes)
        with pool as workers:
            for number, result in workers.map_unordered(run_case, [case for _, case in missing]):
                key, case = missing[number]
                results[key] = partial.add(key, case, result)
                progress.step()
    return [results[key] for key in keys], resumed


@contextmanager
def _left_to_this_process(number: signal.Signals) -> Iterator[None]:
    """Processes started within ignore the signal, so that Ctrl-C does not print a traceback for each of them."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
