"""Calls whose requests and answers may be lost."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rclpy.task import Future
from std_srvs.srv import Trigger

from mql_ros.ros.base.service_calls import ASK_AGAIN, RepeatedCall
from mql_ros.ros.bringup.client import GraphClient, GraphError
from mql_ros.ros.bringup.processes import Domain


class FakeClient:
    """Stands in for rclpy's client: requests are answered by hand."""

    def __init__(self) -> None:
        self.ready = True
        self.pending: list[Future] = []
        self.requests = 0

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: Any) -> Future:
        self.requests += 1
        self.pending.append(Future())
        return self.pending[-1]

    def remove_pending_request(self, future: Future) -> None:
        self.pending.remove(future)


class Bench:
    """A call, and a clock to turn by hand."""

    def __init__(self, **options: bool) -> None:
        self.now, self.received = 0.0, 0
        self.client: Any = FakeClient()
        self.call = RepeatedCall(self.client, "request", lambda: self.now, self._on_request, **options)

    def _on_request(self) -> None:
        self.received += 1

    def requests_until(self, seconds: float) -> int:
        """Requests so far when nobody answers until then."""
        while self.now < seconds:
            assert self.call.response() is None
            self.now += 0.025
        return self.client.requests


def test_it_is_made_once_the_service_is_there() -> None:
    bench = Bench()
    bench.client.ready = False
    assert bench.requests_until(5.0) == 0
    bench.client.ready = True
    assert bench.call.response() is None and bench.client.requests == 1
    bench.client.pending[0].set_result("done")
    assert bench.call.response() == "done" and bench.received == 1 and bench.client.requests == 1


def test_it_is_made_again_ever_more_rarely_while_nothing_is_on_requestd() -> None:
    bench = Bench()
    assert bench.requests_until(0.9 * ASK_AGAIN) == 1
    assert bench.requests_until(1.1 * ASK_AGAIN) == 2
    assert bench.requests_until(30.0) == 4


def test_a_late_answer_counts_and_nothing_is_left_to_be_carried_out_later() -> None:
    bench = Bench()
    bench.requests_until(1.1 * ASK_AGAIN)
    first, second = bench.client.pending
    first.set_result("done")
    # The second request is still to come to the service: what follows may begin only after it.
    assert bench.requests_until(2.5 * ASK_AGAIN) == 2 and bench.received == 1
    second.set_result("done again")
    assert bench.call.response() == "done again" and bench.client.requests == 2


def test_one_that_must_not_be_repeated_is_made_once() -> None:
    bench = Bench(again=False)
    assert bench.requests_until(30.0) == 1 and bench.call.overdue


def test_nothing_is_kept_of_one_that_is_given_up() -> None:
    bench = Bench()
    bench.requests_until(1.1 * ASK_AGAIN)
    bench.call.close()
    assert bench.client.pending == []


# Over DDS.


class Deaf:
    """A Trigger service whose first answer is lost."""

    def __init__(self, node: Any) -> None:
        self.requests = 0
        self._service: Any = node.create_service(Trigger, "deaf", self._on_request)
        self._send, self._service.send_response = self._service.send_response, self._lose

    def _lose(self, response: Any, header: Any) -> None:
        self._service.send_response = self._send

    def _on_request(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.requests += 1
        response.success, response.message = True, str(self.requests)
        return response


@pytest.fixture
def made() -> Iterator[tuple[GraphClient, Deaf]]:
    with Domain(), GraphClient(namespace="repeated") as client:
        yield client, Deaf(client.node)


def test_a_client_asks_again_where_an_answer_was_lost(made: tuple[GraphClient, Deaf]) -> None:
    client, service = made
    assert client.call("deaf") == "2" and service.requests == 2
    assert client.call("deaf") == "3"


@pytest.mark.parametrize("done", [lambda: True, lambda: False])
def test_or_looks_elsewhere_whether_it_was_done(made: tuple[GraphClient, Deaf], done: Callable[[], bool]) -> None:
    client, service = made
    if done():
        assert client.call("deaf", done=done) == ""
    else:
        with pytest.raises(GraphError, match="in vain for an answer from deaf"):
            client.call("deaf", done=done, seconds=1.5 * ASK_AGAIN)
    assert service.requests == 1
