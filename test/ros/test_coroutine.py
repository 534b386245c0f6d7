"""Generators that wait for messages."""

from mql_ros.ros.base.coroutine import CoroutineError, CoroutineRunner, Wait


class Bench:
    """A runner with a clock to turn by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ends: list[str | None] = []
        self.runner = CoroutineRunner(lambda: self.now, self.ends.append)


def test_a_sequence_goes_on_when_what_it_waits_for_is_there() -> None:
    bench, box, received = Bench(), [], []

    def sequence():
        received.append((yield Wait("a word", lambda: box.pop() if box else None, 1.0)))
        received.append((yield Wait("another", lambda: box.pop() if box else None, 1.0)))

    bench.runner.start(sequence())
    assert bench.runner.running and received == []
    box.append("one")
    bench.runner.poll()
    assert received == ["one"] and bench.ends == []
    box.append("two")
    bench.runner.poll()
    assert received == ["one", "two"] and bench.ends == [None] and not bench.runner.running


def test_waiting_in_vain_ends_it_with_a_sentence() -> None:
    bench, closed = Bench(), []

    def sequence():
        try:
            yield Wait("the moon", lambda: None, 2.0)
        finally:
            closed.append(True)

    bench.runner.start(sequence())
    bench.now = 1.9
    bench.runner.poll()
    assert bench.ends == []
    bench.now = 2.0
    bench.runner.poll()
    assert bench.ends == ["waited 2 s in vain for the moon"] and closed == [True]


def test_an_optional_wait_goes_on_without() -> None:
    bench, received = Bench(), []

    def sequence():
        received.append((yield Wait("a context", lambda: None, 1.0, optional=True)))

    bench.runner.start(sequence())
    bench.now = 1.5
    bench.runner.poll()
    assert received == [None] and bench.ends == [None]


def test_an_error_of_the_sequence_is_reported_and_another_may_follow() -> None:
    bench = Bench()

    def failing():
        raise CoroutineError("no policy")
        yield

    bench.runner.start(failing())
    assert bench.ends == ["no policy"] and not bench.runner.running
    bench.runner.start(iter_once())
    assert bench.ends == ["no policy", None]


def iter_once():
    yield Wait("nothing", lambda: True, 1.0)


def test_stopping_is_no_end_and_a_poll_from_within_is_ignored() -> None:
    bench, closed = Bench(), []

    def sequence():
        try:
            bench.runner.poll()
            yield Wait("the end", lambda: None, 1.0)
        finally:
            closed.append(True)

    bench.runner.start(sequence())
    bench.runner.stop()
    assert closed == [True] and bench.ends == [] and not bench.runner.running
    bench.runner.poll()


def test_any_other_error_ends_it_in_the_same_way() -> None:
    def failing():
        yield Wait("a number", lambda: 1 / 0, 1.0)

    def mistaken():
        yield Wait("nothing", lambda: True, 1.0)
        raise KeyError("width")

    bench = Bench()
    bench.runner.start(failing())
    bench.runner.start(mistaken())
    assert bench.ends == ["ZeroDivisionError: division by zero", "KeyError: 'width'"]
    assert not bench.runner.running
