"""`transition` and `context` as labelled arrays."""

import numpy as np
import pytest
from helpers.ros import some_transition

from mql_ros.ros.messages.encoding import MessageError
from mql_ros.ros.messages.transition import (
    ContextAnswer,
    context_message,
    read_context,
    read_transition,
    transition_message,
)


def test_a_transition_survives_the_message_to_the_last_bit() -> None:
    for sequence in range(6):
        transition = some_transition(sequence)
        back = read_transition(transition_message(transition))
        assert all(np.array_equal(getattr(back, name), value) for name, value in vars(transition).items())
        assert [type(v) for v in vars(back).values()] == [type(v) for v in vars(transition).values()]


def test_fields_are_found_by_label() -> None:
    message = transition_message(some_transition(4))
    labels = [dimension.label for dimension in message.layout.dim]
    assert labels[:3] == ["sequence", "session", "trial"]
    data, pieces, begin = list(message.data), [], 0
    for dimension in message.layout.dim:
        pieces.append((dimension, data[begin : begin + dimension.size]))
        begin += dimension.size
    pieces.reverse()
    message.layout.dim = [dimension for dimension, _ in pieces]
    message.data = [value for _, values in pieces for value in values]
    assert np.array_equal(read_transition(message).observation, some_transition(4).observation)


def test_a_broken_transition_is_refused() -> None:
    unknown, short, nan = (transition_message(some_transition(4)) for _ in range(3))
    unknown.layout.dim[0].label = "number"
    short.data = short.data[:-1]
    nan.data[6] = float("nan")
    for words, message in {"needs a field 'sequence'": unknown, "layout": short, "'reward'": nan}.items():
        with pytest.raises(MessageError, match=words):
            read_transition(message)


def test_a_context_survives_the_message_to_the_last_bit() -> None:
    context = np.random.default_rng(1).normal(size=8).astype(np.float32)
    back = read_context(context_message(ContextAnswer(-1, 3, context)))
    assert (back.sequence, back.policy_version) == (-1, 3)
    assert back.context.dtype == np.float32
    assert np.array_equal(back.context, context)


def test_a_broken_context_is_refused() -> None:
    nan = context_message(ContextAnswer(0, 1, np.array([np.nan], dtype=np.float32)))
    unnamed = context_message(ContextAnswer(0, 1, np.zeros(2, dtype=np.float32)))
    unnamed.layout.dim[2].label = "values"
    for words, message in {"not finite": nan, "lacks context": unnamed}.items():
        with pytest.raises(MessageError, match=words):
            read_context(message)
