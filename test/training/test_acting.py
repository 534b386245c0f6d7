"""Acting in a batch sees the windows that training sees, and sessions are as the replay wants them."""

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="the benchmarks need mujoco: pip install 'mql_ros[benchmarks]'")

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.training.locomotion.acting import BehaviourPolicy, EpisodeRecorder, act, evaluate
from mql_ros.training.locomotion.families import FAMILIES, HORIZON, TaskEnvironment
from mql_ros.training.locomotion.history import BatchedHistory

COUNT, STEPS = 3, 230


def learner_for(family, **network):
    made = TaskEnvironment(family)
    sizes = made.observation_space.shape[0], made.action_space.shape[0]
    options = dict(context_size=6, hidden_sizes=(16, 16), embedding_size=8) | network
    return TD3Learner(NetworkConfig(*sizes, **options), seed=1)


@pytest.fixture(scope="module")
def experience():
    """Steps of walkers, which fall at different times, and the contexts that their actions were chosen with."""

    def collect(history_blocks, block_length):
        family = FAMILIES["walker-params"]
        learner, contexts = learner_for(family), []
        plain = learner.act

        def recorded(observation, context):
            contexts.append(np.array(context))
            return plain(observation, context)

        learner.act = recorded
        behaviour = BehaviourPolicy(learner, history_blocks, block_length, reward_scale=0.3, noise=0.8)
        environments = [TaskEnvironment(family) for _ in range(COUNT)]
        tasks = family.tasks(1)[0][:COUNT]
        steps = list(act(environments, tasks, STEPS, behaviour, [4]))
        return learner, tasks, steps, np.stack(contexts)

    return collect


@pytest.mark.parametrize(("history_blocks", "block_length"), [(1, 10), (2, 7), (0, 10)])
def test_contexts_while_acting_are_those_of_training(experience, history_blocks, block_length):
    learner, tasks, steps, contexts = experience(history_blocks, block_length)
    config = learner.network_config
    replays = [Replay(config.observation_size, config.action_size, history_blocks) for _ in tasks]
    recorder, sessions = EpisodeRecorder(tasks, block_length), {}
    for step in steps:
        for n, episode in recorder.add(step):
            if n in sessions:
                replays[n].extend(sessions[n], episode)
            else:
                sessions[n] = replays[n].add(episode)
    falls = 0
    for n, replay in enumerate(replays):
        batch = replay.gather(replay.transition_indices())
        assert len(batch) == STEPS
        with torch.no_grad():
            now, after = (c.numpy() for c in learner.contexts(batch))
        np.testing.assert_allclose(now, contexts[:, n], atol=1e-5)
        goes_on = ~batch.terminal.numpy().astype(bool)[:-1]
        falls += np.count_nonzero(~goes_on)
        np.testing.assert_allclose(after[:-1][goes_on], contexts[1:, n][goes_on], atol=1e-5)
    assert falls > 0


def test_a_batch_of_histories_is_what_trackers_do_one_by_one(experience):
    learner, _, steps, _ = experience(2, 7)
    config = learner.network_config
    history = BatchedHistory(COUNT, config.item_size, 2, 7)
    trackers = [
        ContextTracker(learner.encoder, 2, config.action_size, config.observation_size, block_length=7)
        for _ in range(COUNT)
    ]
    for step in steps[:90]:
        history.append(step.items())
        one_by_one = [
            tracker.append(step.action[n], float(step.reward[n]), step.next_observation[n], bool(step.done[n]))
            for n, tracker in enumerate(trackers)
        ]
        np.testing.assert_allclose(history.contexts(learner.encoder).numpy(), one_by_one, atol=1e-5)


def test_only_falls_are_terminal_and_the_cut_at_the_end_is_no_fall(experience):
    _, _, steps, _ = experience(1, 10)
    assert np.all(steps[-1].done)
    assert all(np.all(step.done[step.terminal]) for step in steps)
    family = FAMILIES["half-cheetah-dir"]
    behaviour = BehaviourPolicy(learner_for(family), 1, 10, random=True)
    steps = list(act([TaskEnvironment(family)], family.tasks(1)[0][:1], 2 * HORIZON, behaviour, [1]))
    assert [k for k, step in enumerate(steps) if step.done[0]] == [HORIZON - 1, 2 * HORIZON - 1]
    assert not any(step.terminal[0] for step in steps)
    # What follows the last step of an episode is its own last observation, not the start of the next.
    assert not np.array_equal(steps[HORIZON - 1].next_observation, steps[HORIZON].observation)
    np.testing.assert_array_equal(steps[0].next_observation, steps[1].observation)


def test_returns_are_in_the_units_of_the_task(experience):
    family = FAMILIES["half-cheetah-vel"]
    learner, environments = learner_for(family), [TaskEnvironment(family) for _ in range(2)]
    tasks = family.tasks(1)[1][:2]
    plain, scaled = (
        evaluate(environments, tasks, 1, BehaviourPolicy(learner, 1, 10, reward_scale=scale, random=True), [2])
        for scale in (1.0, 0.1)
    )
    assert plain.shape == (2, 1)
    np.testing.assert_allclose(plain, scaled, rtol=1e-4)
