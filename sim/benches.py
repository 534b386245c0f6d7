"""Benches: what differs from one place of work to another and stays the same on one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mql_sim.camera import DepthNoise, Miscalibration


@dataclass(frozen=True)
class Bench:
    """Camera, pads and sensors of one bench; the defaults are those of training."""

    calibration: Miscalibration = field(default_factory=Miscalibration)
    noise: DepthNoise = field(default_factory=DepthNoise)
    lag: float = 0.0
    """Age of what a depth image shows at its stamp, s, in whole control periods."""
    pads: float = 1.0
    """Friction of the pads over that of new ones."""
    slips: float = 0.05
    """Standard deviation of the logarithm of friction from trial to trial."""
    effort: bool = True
    """Whether the fingers' effort is measured; else it is estimated from their stall, whatever the profile says."""
    wrench: bool = True
    """Whether the force on the tool is measured; else it is taken as zero."""


BENCHES: dict[str, Bench] = {
    "usual": Bench(),
    "noisy-depth": Bench(noise=DepthNoise(deviation=0.003)),
    "miscalibrated": Bench(calibration=Miscalibration(shift=0.005, turn=float(np.deg2rad(2.0)))),
    "late-view": Bench(lag=0.1),
    "no-effort": Bench(effort=False),
    "no-wrench": Bench(wrench=False),
}
"""Benches by name: that of training, three with a worse view, and two whose arm reports less."""
