"""The methods that `mql evaluate` compares: `METHODS` maps a name to what the method acts with.

To add a method, write a function that takes a `CaseRun` and returns a `PolicyUnderTest`, and add one entry to
`METHODS`. An ablation of adaptation needs no function: add its settings to `ablations` (algorithm/adaptation/config.py)
and the entry `Method(ablation(NAME), ...)` here. The command line, the report and the figures take names, colours and
markers from `METHODS`; every marker is unique, so that a figure is readable without colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mql_ros.algorithm.adaptation.config import ablations

if TYPE_CHECKING:  # a help text lists the methods, and torch takes seconds to import
    from mql_ros.evaluation.cases import CaseRun, PolicyUnderTest


@dataclass(frozen=True)
class Method:
    """One method, and how figures draw it."""

    act: Callable[[CaseRun], PolicyUnderTest]
    color: str
    marker: str


def reference(run: CaseRun) -> PolicyUnderTest:
    """Another policy, given as `Case.reference` and not adapted."""
    from mql_ros.algorithm.policy_bundle import load_bundle
    from mql_ros.grasping.learning.grasp_policy import grasp_learner_of

    assert run.case.reference is not None
    return run.going_on(grasp_learner_of(load_bundle(Path(run.case.reference))))


def no_context(run: CaseRun) -> PolicyUnderTest:
    """The meta-trained policy with its context zeroed."""
    from mql_ros.grasping.learning.grasp_policy import grasp_learner

    blind = grasp_learner(replace(run.learner.network_config, use_context=False), run.learner.config)
    blind.load_state_dict(run.learner.state_dict())
    return run.going_on(blind)


def context(run: CaseRun) -> PolicyUnderTest:
    """The meta-trained policy with context, without adaptation."""
    return run.going_on(run.learner)


def baseline(name: str) -> Callable[[CaseRun], PolicyUnderTest]:
    """A class of `mql_ros.grasping.learning.baselines`, which makes new trials of its own."""

    def act(run: CaseRun) -> PolicyUnderTest:
        from mql_ros.grasping.learning import baselines

        return run.on_its_own(getattr(baselines, name)(run.seed))

    return act


def oracle(run: CaseRun) -> PolicyUnderTest:
    """`repeat` with a force between those at which this object slips and gives way, which nobody else knows."""
    from mql_ros.grasping.learning.baselines import KnownForce
    from mql_sim.oracle import adequate_force

    return run.on_its_own(KnownForce(run.seed, adequate_force(run.thing, run.task.world.profile.max_force)))


def ablation(name: str) -> Callable[[CaseRun], PolicyUnderTest]:
    """Adaptation with the settings of this ablation."""
    return lambda run: run.adapted(ablations(run.case.adaptation)[name])


METHODS = {
    "reference": Method(reference, "#444444", "P"),
    "heuristic": Method(baseline("Heuristic"), "#8a8f98", "1"),
    "force-rule": Method(baseline("ForceRule"), "#8a8f98", "d"),
    "repeat": Method(baseline("Repeat"), "#009e73", "p"),
    "thompson": Method(baseline("Thompson"), "#cc79a7", "X"),
    "oracle": Method(oracle, "#000000", "*"),
    "no-context": Method(no_context, "#8a8f98", "v"),
    "context": Method(context, "#0072b2", "o"),
    "fine-tune": Method(ablation("fine-tune"), "#e69f00", "s"),
    "uniform-replay": Method(ablation("uniform-replay"), "#56b4e9", "^"),
    "replay-only": Method(ablation("replay-only"), "#cc79a7", "h"),
    "unweighted": Method(ablation("unweighted"), "#f0e442", "<"),
    "no-proximal": Method(ablation("no-proximal"), "#f0a884", ">"),
    "mql": Method(ablation("mql"), "#d55e00", "D"),
}
"""All methods by name. Colours that colour-blind people can distinguish (Okabe and Ito 2008)."""
