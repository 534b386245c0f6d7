"""The benchmark of missed deadlines, over a few decisions."""

from pathlib import Path

from mql_ros.bench.graph import CONFIDENCE, DEADLINE_GOAL, deadline_figures


def test_misses_are_counted_over_as_many_decisions_as_asked_for(bundle: Path) -> None:
    (measured,) = deadline_figures(str(bundle), decisions=7)
    assert measured.name == "missed_context_deadlines" and measured.baseline == DEADLINE_GOAL
    assert "of 9)" in measured.unit  # whole trials
    # Of so few decisions even no miss proves little: the bound is that of (1 - bound)^9 = 1 - confidence.
    assert 100.0 * (1.0 - (1.0 - CONFIDENCE) ** (1 / 9)) - 1e-9 <= measured.value <= 100.0
