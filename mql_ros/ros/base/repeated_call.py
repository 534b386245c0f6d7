"""A service call that survives a lost message.

DDS discovers the two directions of a service one after the other: a server that does not know its client's end of the
responses yet carries out a request and drops the response, and a request to an earlier self of a node that was started
anew is answered by nobody. So a call is made once the service is there, and made again while nothing is heard of it.
Whoever offers a service must therefore bear to be asked the same thing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.client import Client
from rclpy.task import Future

ASK_AGAIN = 2.0
"""A request of which nothing is heard for so long is made again, s; after each repetition the time is doubled.

So a person who takes half a minute to prepare a trial is asked four times, not fifteen.
"""


class RepeatedCall:
    """One call. A service handles requests in their order, so the answer to the last one ends it: none is then left
    that could still be carried out later, in the middle of what comes next.
    """

    def __init__(
        self,
        client: Client,
        request: Any,
        clock: Callable[[], float],
        answered: Callable[[], None] = lambda: None,
        *,
        again: bool = True,
    ) -> None:
        """`clock` (s) only moves forward, `answered` hears of every answer; with `again` false it is asked once."""
        self._client, self._request, self._clock, self._answered = client, request, clock, answered
        self._again = again
        self._futures: list[Future] = []
        self._patience = ASK_AGAIN
        self._due = 0.0

    def response(self) -> Any | None:
        """The answer, None until it is there; to be asked for repeatedly, because it is this that makes the calls."""
        if self._futures and self._futures[-1].done():
            return self._futures[-1].result()
        if (not self._futures or (self._again and self.overdue)) and self._client.service_is_ready():
            if self._futures:
                self._patience *= 2.0
            self._wait()
            self._futures.append(self._client.call_async(self._request))
            self._futures[-1].add_done_callback(self._hear)
        return None

    @property
    def overdue(self) -> bool:
        """Whether it was made, and nothing was heard of it in time."""
        return bool(self._futures) and self._clock() >= self._due

    def _wait(self) -> None:
        self._due = self._clock() + self._patience

    def _hear(self, future: Future) -> None:
        self._wait()  # an answer to an earlier request: the service is alive, and the next one is on its way
        self._answered()

    def close(self) -> None:
        """Nobody wants the answer any more."""
        for future in self._futures:
            self._client.remove_pending_request(future)
