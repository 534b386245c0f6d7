"""Coroutines that wait for messages without blocking: generators that yield what they wait for.

    def greet():
        name = yield Wait("a name", lambda: inbox.name, seconds=5.0)
        ...

Code that spans many callbacks reads from top to bottom and is tested without rclpy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wait:
    """One condition that a coroutine waits for."""

    what: str
    """Its description for the error message."""
    ready: Callable[[], Any]
    """Returns the value, or None while it is not available."""
    seconds: float
    """Time limit, s."""
    optional: bool = False
    """Continue with None at the time limit instead of failing."""


Coroutine = Generator[Wait, Any, None]


class CoroutineError(Exception):
    """A coroutine cannot continue; one sentence gives the reason."""


class CoroutineRunner:
    """Runs one coroutine at a time. Call `poll` whenever a condition may have changed."""

    def __init__(self, clock: Callable[[], float], ended: Callable[[str | None], None]) -> None:
        """`clock` returns seconds; `ended` is called at the end with None or the error."""
        self._clock = clock
        self._ended = ended
        self._coroutine: Coroutine | None = None
        self._wait: Wait | None = None
        self._deadline = 0.0
        self._polling = False

    @property
    def running(self) -> bool:
        """Whether a coroutine is under way."""
        return self._coroutine is not None

    def start(self, coroutine: Coroutine) -> None:
        """Begin a coroutine; RuntimeError if one is under way."""
        if self._coroutine is not None:
            raise RuntimeError("a coroutine is under way")
        self._coroutine = coroutine
        self._wait = None
        self.poll()

    def stop(self) -> None:
        """Abandon the coroutine; `ended` is not called."""
        coroutine, self._coroutine, self._wait = self._coroutine, None, None
        if coroutine is not None:
            coroutine.close()

    def poll(self) -> None:
        """Advance as far as the conditions allow."""
        if self._polling:  # called from within the coroutine
            return
        self._polling = True
        try:
            while self._coroutine is not None and self._advance():
                pass
        finally:
            self._polling = False

    def _advance(self) -> bool:
        assert self._coroutine is not None
        value, wait = None, self._wait
        try:
            if wait is not None:
                value = wait.ready()
                if value is None and self._clock() < self._deadline:
                    return False
            if wait is not None and value is None and not wait.optional:
                raise CoroutineError(f"waited {wait.seconds:g} s in vain for {wait.what}")
            self._wait = self._coroutine.send(value)
            self._deadline = self._clock() + self._wait.seconds
        except StopIteration:
            self._finish(None)
        except CoroutineError as error:
            self._finish(str(error))
        except Exception as error:  # `ended` stops the arm, whatever the error is
            self._finish(f"{type(error).__name__}: {error}")
        return True

    def _finish(self, reason: str | None) -> None:
        coroutine, self._coroutine, self._wait = self._coroutine, None, None
        if coroutine is not None:
            coroutine.close()
        self._ended(reason)
