"""A sequence of steps that waits for messages without blocking: a generator that yields what it waits for.

    def greet():
        name = yield Wait("a name", lambda: inbox.name, seconds=5.0)
        ...

So what happens over many callbacks reads from top to bottom, and is tested without rclpy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wait:
    """What a sequence waits for."""

    what: str
    """In words, for the message when it does not come."""
    ready: Callable[[], Any]
    """Returns it, or None while it is not there."""
    seconds: float
    """Longest time to wait."""
    optional: bool = False
    """Go on with None, instead of failing, when the time is over."""


Sequence = Generator[Wait, Any, None]


class SequenceError(Exception):
    """A sequence cannot go on; one sentence says why."""


class Runner:
    """Advances one sequence at a time; `poll` is called whenever something may have changed."""

    def __init__(self, clock: Callable[[], float], ended: Callable[[str | None], None]) -> None:
        """`ended` hears that a sequence is over: None, or what went wrong."""
        self._clock = clock
        self._ended = ended
        self._sequence: Sequence | None = None
        self._wait: Wait | None = None
        self._deadline = 0.0
        self._polling = False

    @property
    def running(self) -> bool:
        """Whether a sequence is under way."""
        return self._sequence is not None

    def start(self, sequence: Sequence) -> None:
        """Begin a sequence; there must be none under way."""
        if self._sequence is not None:
            raise RuntimeError("a sequence is under way")
        self._sequence = sequence
        self._wait = None
        self.poll()

    def stop(self) -> None:
        """Leave off where it is; `ended` is not called."""
        sequence, self._sequence, self._wait = self._sequence, None, None
        if sequence is not None:
            sequence.close()

    def poll(self) -> None:
        """Go on as far as what has arrived allows."""
        if self._polling:  # called from within the sequence, by what it does
            return
        self._polling = True
        try:
            while self._sequence is not None and self._advance():
                pass
        finally:
            self._polling = False

    def _advance(self) -> bool:
        assert self._sequence is not None
        value, wait = None, self._wait
        try:
            if wait is not None:
                value = wait.ready()
                if value is None and self._clock() < self._deadline:
                    return False
            if wait is not None and value is None and not wait.optional:
                raise SequenceError(f"waited {wait.seconds:g} s in vain for {wait.what}")
            self._wait = self._sequence.send(value)
            self._deadline = self._clock() + self._wait.seconds
        except StopIteration:
            self._finish(None)
        except SequenceError as error:
            self._finish(str(error))
        except Exception as error:  # whoever listens to the end stops the arm, whatever the error is
            self._finish(f"{type(error).__name__}: {error}")
        return True

    def _finish(self, reason: str | None) -> None:
        sequence, self._sequence, self._wait = self._sequence, None, None
        if sequence is not None:
            sequence.close()
        self._ended(reason)
