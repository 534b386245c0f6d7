"""Sessions seen from another side: nothing changes in the frame of the fingers but the sides that are swapped."""

import numpy as np
import pytest
import torch

from mql_ros.algorithm.experience.replay import Replay, Session
from mql_ros.grasping.learning.augmentation import moved
from mql_ros.grasping.learning.networks import crops, grasp_poses
from mql_ros.grasping.task import spaces

TRIALS, SESSIONS = 3, 4
MOTIONS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]


def signals(rng, phase, yaw):
    values = rng.normal(size=spaces.SIGNAL_SIZE)
    values[:3] = np.eye(3)[phase]
    values[6:8] = np.cos(2 * yaw), np.sin(2 * yaw)
    return values


@pytest.fixture(scope="module")
def batch():
    """Sessions whose grasps have any heading, on views of noise."""
    rng = np.random.default_rng(0)
    replay = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, TRIALS, view_size=spaces.VIEW_SIZE)
    for number in range(SESSIONS):
        action = rng.uniform(-1.0, 1.0, (3 * TRIALS, spaces.ACTION_SIZE))
        now, following = [], []
        for trial in range(TRIALS):
            view = spaces.view_entries(rng.uniform(0.0, 0.2, (spaces.VIEW_CELLS, spaces.VIEW_CELLS)))
            yaw = action[3 * trial, 3] * np.pi / 2
            felt = [signals(rng, 0, 0.3), signals(rng, 1, yaw), signals(rng, 2, yaw), signals(rng, 2, yaw)]
            rows = [np.concatenate([view, one]) for one in felt]
            now += rows[:3]
            following += rows[1:]
        done = np.arange(3 * TRIALS) % 3 == 2
        replay.add(
            Session(
                task=f"thing-{number}",
                observation=np.array(now, np.float32),
                action=action.astype(np.float32),
                reward=rng.normal(size=len(done)).astype(np.float32),
                next_observation=np.array(following, np.float32),
                done=done,
                terminal=done,
                block=np.arange(len(done)) // 3,
            )
        )
    return replay.sample_sessions(SESSIONS, rng)


def everywhere(batch, quarters, mirrored):
    count = len(batch.items)
    return moved(batch, torch.full((count,), quarters), torch.full((count,), mirrored))


def crops_of(observation, action):
    seen = observation[:, spaces.VIEW_SIZE :]
    return crops(observation[:, : spaces.VIEW_SIZE], grasp_poses(seen, action)[:, None])[:, 0]


@pytest.mark.parametrize(("quarters", "mirrored"), MOTIONS)
def test_fingers_meet_the_same_shape(batch, quarters, mirrored):
    other = everywhere(batch, quarters, mirrored)
    before, after = (crops_of(one.observation, one.action) for one in (batch, other))
    same = before.flip(2) if mirrored else before
    half = same.flip((1, 2))  # the fingers turned by a half: both ends of both axes are swapped
    gaps = [(after - one).abs().amax((1, 2)) for one in (same, half)]
    assert float(torch.minimum(*gaps).max()) < 1e-3
    if quarters % 2 == 1:
        assert 0 < int((gaps[1] < 1e-3).sum()) < len(after)


@pytest.mark.parametrize(("quarters", "mirrored"), MOTIONS)
def test_sides_that_are_felt_change_with_the_sides_that_are_seen(batch, quarters, mirrored):
    other = everywhere(batch, quarters, mirrored)
    closing = batch.observation[:, spaces.VIEW_SIZE + 1] > 0.5
    old, new = (b.observation[closing, spaces.VIEW_SIZE :] for b in (batch, other))
    step, moved_step = batch.action[closing], other.action[closing]
    for signal, entry in (("contact_x", 0), ("contact_y", 1)):
        k = spaces.SIGNAL_NAMES.index(signal)
        # Felt side and correction keep their relation, whichever way the axes point now.
        assert torch.allclose(old[:, k] * step[:, entry], new[:, k] * moved_step[:, entry])
    kept = [k for k, name in enumerate(spaces.SIGNAL_NAMES) if name in ("weight", "side_force", "effort", "tool_z")]
    assert torch.allclose(old[:, kept].abs(), new[:, kept].abs())


@pytest.mark.parametrize(("quarters", "mirrored"), MOTIONS)
def test_items_of_the_history_move_as_the_transitions_do(batch, quarters, mirrored):
    other, a = everywhere(batch, quarters, mirrored), spaces.ACTION_SIZE
    for one in (batch, other):
        items = one.items[one.row, one.position]
        assert torch.equal(items[:, :a], one.action)
        assert torch.equal(items[:, a + 1 : -1], one.next_observation)
    assert torch.equal(batch.reward, other.reward)


def test_four_quarters_and_two_mirrors_change_nothing(batch):
    turned = batch
    for _ in range(4):
        turned = everywhere(turned, 1, False)
    twice = everywhere(everywhere(batch, 0, True), 0, True)
    for one in (turned, twice):
        assert torch.allclose(one.items, batch.items, atol=1e-5)
        assert torch.allclose(one.observation, batch.observation, atol=1e-5)
        assert torch.allclose(one.action, batch.action, atol=1e-5)
