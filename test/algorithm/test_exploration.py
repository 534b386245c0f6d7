"""Exploration: which noise, which history, and that it repeats."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.algorithm import A, O, filled_replay, small_learner

from mql_ros.algorithm.adaptation.config import NO_EXPLORATION, ExplorationConfig
from mql_ros.algorithm.adaptation.exploration import Explorer, HistoryLibrary
from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay

ANYTHING = -1e6
"""A return that every block reaches."""


def run(explorer, learner, blocks=6, steps=3, reward=-1.0, seed=0):
    """Actions [blocks, steps, A] in a session whose observations do not depend on them, and the contexts."""
    rng = np.random.default_rng(seed)
    tracker = ContextTracker(learner.encoder, 2, A, O)
    actions, contexts = np.zeros((blocks, steps, A)), []
    for block in range(blocks):
        for step in range(steps):
            contexts.append(tracker.context)
            actions[block, step] = explorer.act(rng.normal(size=O), tracker.context)
            following, done = rng.normal(size=O), step == steps - 1
            context = tracker.append(actions[block, step], reward, following, done)
            explorer.learn(actions[block, step], reward, following, done, context)
    return actions, np.array(contexts)


def plain_actions(learner, contexts, blocks=6, steps=3, seed=0):
    rng = np.random.default_rng(seed)
    actions = []
    for context in contexts:
        actions.append(learner.act(rng.normal(size=O).astype(np.float32), context))
        rng.normal(size=O)
    return np.array(actions).reshape(blocks, steps, A)


def test_without_exploration_the_policy_itself_acts():
    learner = small_learner()
    actions, contexts = run(Explorer(learner, NO_EXPLORATION, 3), learner)
    np.testing.assert_array_equal(actions, plain_actions(learner, contexts))


def test_noise_has_the_size_asked_for_and_repeats_with_the_seed():
    learner = small_learner()
    config = ExplorationConfig(noise=0.1)
    one, contexts = run(Explorer(learner, config, 3), learner, blocks=300)
    two, _ = run(Explorer(learner, config, 3), learner, blocks=300)
    np.testing.assert_array_equal(one, two)
    noise = one - plain_actions(learner, contexts, blocks=300)
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("persistence", [0.8, 1.0])
def test_persistent_noise_is_correlated_within_a_block_only(persistence):
    learner = small_learner()
    config = ExplorationConfig(noise=0.1, persistence=persistence)
    actions, contexts = run(Explorer(learner, config, 3), learner, blocks=300)
    noise = actions - plain_actions(learner, contexts, blocks=300)
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    assert np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1] == pytest.approx(persistence, abs=0.1)
    assert abs(np.corrcoef(noise[:-1, -1].ravel(), noise[1:, 0].ravel())[0, 1]) < 0.15


def test_histories_are_recalled_only_while_nothing_has_succeeded():
    learner = small_learner()
    library = HistoryLibrary(learner.encoder, filled_replay(), ANYTHING)
    config = ExplorationConfig(noise=0.0, recall=1.0, recall_after=2)
    actions, contexts = run(Explorer(learner, config, 3, library), learner)
    same = np.all(actions == plain_actions(learner, contexts), axis=(1, 2))
    assert same.tolist() == [True, True, False, False, False, False]
    actions, contexts = run(Explorer(learner, config, 3, library), learner, reward=1.0)
    np.testing.assert_array_equal(actions, plain_actions(learner, contexts))


def test_a_recalled_history_is_one_of_the_library_and_goes_on_within_the_block():
    learner = small_learner()
    library = HistoryLibrary(learner.encoder, filled_replay(), ANYTHING)
    explorer = Explorer(learner, ExplorationConfig(noise=0.0, recall=1.0, recall_after=1), 3, library)
    actions, _ = run(explorer, learner, blocks=2)
    rng = np.random.default_rng(0)
    seen = [(rng.normal(size=O).astype(np.float32), rng.normal(size=O)) for _ in range(6)]
    first = [learner.act(seen[3][0], context) for context in library.contexts]
    found = [k for k, action in enumerate(first) if np.allclose(action, actions[1, 0], atol=1e-6)]
    assert found
    # The one farthest from the first action that failed, of those that were drawn.
    distance = np.linalg.norm(np.array(first) - actions[0, 0], axis=1)
    assert distance[found[0]] >= np.median(distance)


def test_propensity_draws_the_tasks_that_resemble_what_was_felt():
    learner = small_learner()
    rng = np.random.default_rng(0)
    from helpers.algorithm import trials

    replay, of_near = Replay(O, A, 2, 10_000), Replay(O, A, 2, 10_000)
    for _ in range(6):
        for task, shift in (("near", 2.0), ("far", -2.0)):
            session = trials(rng, task, shift=shift)
            replay.add(session)
            if task == "near":
                of_near.add(session)
    library = HistoryLibrary(learner.encoder, replay, ANYTHING)
    new = Replay(O, A, 2, 100)
    new.add(trials(rng, "new", count=8, shift=2.0))
    from mql_ros.algorithm.adaptation.adapt import transition_features

    felt = transition_features(learner.encoder, new, new.transition_indices())
    near = HistoryLibrary(learner.encoder, of_near, ANYTHING).contexts
    drawn = library.draw(200, np.random.default_rng(1), felt)
    even = library.draw(200, np.random.default_rng(1))
    share = [np.mean(np.abs(contexts[:, None] - near).max(axis=2).min(axis=1) < 1e-6) for contexts in (drawn, even)]
    assert share[0] > 0.8
    assert share[1] == pytest.approx(0.5, abs=0.15)


def test_what_makes_no_sense_is_refused():
    learner = small_learner()
    with pytest.raises(ValueError, match="library"):
        Explorer(learner, ExplorationConfig(recall=0.5), 0)
    with pytest.raises(ValueError, match="No old trial was successful"):
        HistoryLibrary(learner.encoder, filled_replay(), success_return=1e6)
    for change in ({"noise": -1.0}, {"persistence": 2.0}, {"recall": 2.0}, {"recall_by": "chance"}, {"candidates": 0}):
        with pytest.raises(ValueError, match=r"must|expected"):
            ExplorationConfig(**change)
