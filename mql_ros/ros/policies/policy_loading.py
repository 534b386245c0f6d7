"""Announcement of a policy on the topic `policy`, and the policy loaded from it.

Needs no rclpy. Imports torch only to load a policy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mql_ros.algorithm.bundle_files import read_bundle
from mql_ros.core.errors import UserError
from mql_ros.grasping.task import spaces
from mql_ros.ros.messages.encoding import MessageError

if TYPE_CHECKING:
    from mql_ros.algorithm.context import ContextTracker
    from mql_ros.algorithm.q_learning import QLearner
    from mql_ros.grasping.learning.grasp_policy import GraspPolicy


@dataclass(frozen=True)
class Announcement:
    """The policy that the nodes shall use: the content of the topic `policy`."""

    bundle: str
    """Directory of its bundle."""
    version: int
    hash: str
    """SHA-256 of the bundle's manifest; a bundle with another one is not loaded."""

    def to_json(self) -> str:
        """Return the content of the message."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Announcement:
        """Read the content of a message; MessageError if it is something else."""
        try:
            data = json.loads(text)
            return Announcement(str(data["bundle"]), int(data["version"]), str(data["hash"]))
        except (ValueError, TypeError, KeyError) as error:
            raise MessageError(f"policy is no JSON object with bundle, version and hash: {text[:80]!r}") from error


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy ready to act."""

    version: int
    hash: str
    """SHA-256 of its bundle's manifest."""
    learner: QLearner
    history_blocks: int
    """Number of past trials in a history."""

    @property
    def context_size(self) -> int:
        """Length C of the context."""
        return int(self.learner.network_config.context_size)

    def new_session(self, seed: int) -> GraspPolicy:
        """Return what acts in one session; `seed` is that of its exploration."""
        from mql_ros.grasping.learning.grasp_policy import GraspPolicy

        return GraspPolicy(self.learner, seed)

    def new_tracker(self) -> ContextTracker:
        """Return a context tracker with this policy's encoder and an empty history."""
        from mql_ros.algorithm.context import ContextTracker

        return ContextTracker(self.learner.encoder, self.history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE)


def load_policy(announcement: Announcement, robot: str, *others: str) -> LoadedPolicy:
    """Load an announced policy for a robot; UserError if it cannot be used.

    `others` are robots whose policies may act on this one too (`policies_from` in its profile).
    """
    from mql_ros.algorithm.policy_bundle import load_bundle
    from mql_ros.grasping.learning.grasp_policy import grasp_learner_of

    bundle = load_bundle(announcement.bundle)
    if bundle.hash != announcement.hash:
        raise UserError(
            f"policy bundle {announcement.bundle} has hash {bundle.hash[:12]}, but {announcement.hash[:12]} was "
            "announced; it was changed since; announce it anew"
        )
    _check_purpose(bundle.path, bundle.manifest, robot, *others)
    import torch

    torch.set_num_threads(1)  # more threads do not help with single observations and slow the other nodes down

    return LoadedPolicy(announcement.version, bundle.hash, grasp_learner_of(bundle), bundle.history_blocks)


def check_bundle(path: Path, robot: str, *others: str) -> Announcement:
    """Return the announcement of a bundle that is undamaged and for this robot; UserError otherwise. Needs no torch.

    `others` are robots whose policies may act on this one too.
    """
    bundle = read_bundle(path)
    _check_purpose(path, bundle.manifest, robot, *others)
    return Announcement(str(path), int(bundle.manifest["version"]), bundle.hash)


def _check_purpose(path: Path, manifest: dict[str, Any], robot: str, *others: str) -> None:
    """Raise UserError if a policy is for another robot or another task."""
    trained_robot, trained_task = manifest["robot"].get("name"), manifest["task"].get("name")
    if trained_robot not in (robot, *others):
        raise UserError(
            f"policy bundle {path} was trained for robot '{trained_robot}', not for '{robot}'; choose another bundle, "
            f"or, if both have the same gripper, name '{trained_robot}' under 'policies_from' in the profile"
        )
    if trained_task != spaces.TASK_NAME:
        raise UserError(
            f"policy bundle {path} was trained for task '{trained_task}'; expected '{spaces.TASK_NAME}'; "
            "choose another bundle"
        )
