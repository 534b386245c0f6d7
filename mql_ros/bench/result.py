"""One number of a benchmark beside its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BenchResult:
    """One number beside its baseline."""

    name: str
    value: float
    unit: str
    baseline: float
    baseline_name: str
    """What the baseline is: a goal, or a measurement."""
    higher_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better than the baseline; 1 and more reach it."""
        return self.value / self.baseline if self.higher_is_better else self.baseline / self.value

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "value": self.value,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "unit": self.unit,
            "baseline_name": self.baseline_name,
        }
