"""Benchmarks of the algorithm alone, without robot or simulator: at the published sizes, and how the cost grows.

O=20, A=6, context 30, hidden layers 300 and 300, batches of 256 transitions with 20 items of history or more. The
naive baseline (`bench_naive`) runs in the same process, turn by turn, so that other work on the machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle, pairwise

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, adapt
from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session, block_numbers
from mql_ros.algorithm.networks import ContextEncoder, NetworkConfig
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.bench.naive import NaiveConfig, NaiveLearner, NaiveReplay, naive_adaptation
from mql_ros.bench.result import BenchResult

OBSERVATION, ACTION, BATCH = 20, 6, 256
BLOCK, PAST_BLOCKS = 10, 2
"""20 to 29 items of history for every transition, the naive baseline has 20."""
ADAPTATION_BATCH, NEW_UPDATES, RECYCLING_UPDATES = 1280, 10, 100
NAIVE_NEW_UPDATES, NAIVE_RECYCLING_UPDATES = 1, 5
PRODUCTS = "same maths done naively; here only the products of actor and critics, a bound of the ratio"
MEMORY_GOAL = 1.2
"""Times the bytes of the raw transitions."""
Layers = list[tuple[int, int]]
Shapes = list[tuple[int, int, int]]
SCALING_TASKS = (10, 100, 1000)
SCALING_HISTORIES = (8, 16, 32, 64)
SCALING_BLOCK = 8


def update_published_sizes(_subject: object, pairs: int = 12) -> list[BenchResult]:
    """A TD3 update with drawing its batch, the mean of one without and one with an actor's step."""
    rng, blocks = np.random.default_rng(0), -(-BATCH // BLOCK)
    sessions = [_session(rng, f"task {k}", 200, BLOCK) for k in range(50)]
    replay, learner = Replay.of(sessions, OBSERVATION, ACTION, PAST_BLOCKS), _learner()
    naive_replay, naive = _naive_replay(sessions), NaiveLearner(NaiveConfig())
    times = _alternate(
        {
            "ours": lambda: learner.update(replay.sample(blocks, rng)),
            "naive": lambda: naive.update(naive_replay.sample(BATCH, rng)),
            "products": bare_products(BATCH),
        },
        pairs,
    )
    name = f"same maths done naively; ours draws {blocks} blocks of {BLOCK} steps with {PAST_BLOCKS} blocks before each"
    return [
        BenchResult("update_published_sizes", times["ours"], "CPU ms, median", times["naive"], name),
        BenchResult("update_products_alone", times["products"], "CPU ms, median", times["naive"], PRODUCTS),
    ]


def adaptation_published_sizes(_subject: object) -> list[BenchResult]:
    """One whole adaptation with propensity, effective sample size and proximal term."""
    rng = np.random.default_rng(0)
    old = [_session(rng, f"task {k}", 200, BLOCK) for k in range(50)]
    new = [_session(rng, "new task", 200, BLOCK) for _ in range(5)]
    settings = AdaptationConfig(
        new_updates=NEW_UPDATES,
        recycling_updates=RECYCLING_UPDATES,
        batch_size=ADAPTATION_BATCH // BLOCK,
        new_fraction=0.0,
        overlap_threshold=1.0,  # nothing is skipped
    )
    meta_replay, new_replay = (Replay.of(part, OBSERVATION, ACTION, PAST_BLOCKS) for part in (old, new))
    ours = _seconds(lambda: adapt(_learner(), meta_replay, new_replay, settings))
    naive_meta, naive_new = _naive_replay(old), _naive_replay(new)

    def naive(new_updates: int, recycling_updates: int) -> float:
        learner, sizes = NaiveLearner(NaiveConfig()), (new_updates, recycling_updates, ADAPTATION_BATCH)
        return _seconds(lambda: naive_adaptation(learner, naive_meta, naive_new, *sizes, rng))

    naive(1, 1)
    fit, measured = naive(0, 0), NAIVE_NEW_UPDATES + NAIVE_RECYCLING_UPDATES
    iteration = (naive(NAIVE_NEW_UPDATES, NAIVE_RECYCLING_UPDATES) - fit) / measured
    updates = NEW_UPDATES + RECYCLING_UPDATES
    baseline = fit + updates * iteration
    products = 0.001 * updates * _alternate({"products": bare_products(ADAPTATION_BATCH)}, 6)["products"]
    name = f"same maths done naively: fit, and {measured} iterations scaled to {updates}"
    return [
        BenchResult("adaptation_published_sizes", ours, "CPU s", baseline, name),
        BenchResult("adaptation_products_alone", products, "CPU s", baseline, PRODUCTS),
    ]


def bare_products(batch: int) -> Callable[[], None]:
    """The products of an update's actor and critics, every second time with the actor's step; nothing else.

    No implementation of the maths can leave them out: they bound what can be gained over the naive one.
    """
    published = NaiveConfig()
    seen = OBSERVATION + published.context_size
    actor = list(pairwise((seen, *published.hidden_sizes, ACTION)))
    critic = list(pairwise((seen + ACTION, *published.hidden_sizes, 1)))

    def forward(layers: Layers) -> Shapes:
        return [(batch, inputs, outputs) for inputs, outputs in layers]

    def of_weights(layers: Layers) -> Shapes:
        return [(inputs, batch, outputs) for inputs, outputs in layers]

    def of_inputs(layers: Layers) -> Shapes:
        return [(batch, outputs, inputs) for inputs, outputs in layers]

    def random(shapes: Shapes) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.randn(rows, inner), torch.randn(inner, columns)) for rows, inner, columns in shapes]

    # Of the first layer's inputs only the context and the action need a gradient, and for the actor none does.
    of_context = [(published.context_size, critic[0][1]), *critic[1:]]
    of_action = [(ACTION, critic[0][1]), *critic[1:]]
    target = forward(actor) + 2 * forward(critic)
    critic_step = target + 2 * (forward(critic) + of_weights(critic) + of_inputs(of_context))
    actor_step = forward(actor) + forward(critic) + of_inputs(of_action) + of_weights(actor) + of_inputs(actor[1:])
    turns = cycle([random(critic_step), random(critic_step + actor_step)])

    def multiply() -> None:
        for left, right in next(turns):
            torch.mm(left, right)

    return multiply


def replay_memory(_subject: object, transitions: int = 100_000) -> list[BenchResult]:
    """Memory of stored transitions, with all bookkeeping."""
    rng, length = np.random.default_rng(0), 1000
    replay = Replay(OBSERVATION, ACTION, PAST_BLOCKS, capacity=transitions)
    session = _session(rng, "task", length, BLOCK)
    for _ in range(transitions // length):
        replay.add(session)
    raw = 4 * (OBSERVATION + ACTION + 1 + OBSERVATION + 1) * transitions  # s, a, r, s', d as float32
    naive = _naive_replay([session]).nbytes * transitions / length
    flattened = f"two flattened histories of {NaiveConfig().history} items a transition; {length} of them, scaled"
    return [
        BenchResult(
            "replay_memory", replay.nbytes / 1e6, f"MB for {transitions:,} transitions", naive / 1e6, flattened
        ),
        BenchResult("replay_memory_over_raw", replay.nbytes / raw, "times the raw bytes", MEMORY_GOAL, "goal"),
    ]


def scaling(_subject: object, pairs: int = 10) -> list[BenchResult]:
    """What an update costs, with drawing its batch, and the drawing alone: over tasks, then over items of history."""
    cases = {f"tasks_{tasks}": (tasks, 16) for tasks in SCALING_TASKS}
    cases |= {f"history_{items}": (100, items) for items in SCALING_HISTORIES}
    learner, rng, blocks = _learner(), np.random.default_rng(0), BATCH // SCALING_BLOCK
    draws, updates = {}, {}
    for name, (tasks, items) in cases.items():
        sessions = [_session(rng, f"task {k}", 160, SCALING_BLOCK) for k in range(tasks)]
        draw = partial(Replay.of(sessions, OBSERVATION, ACTION, items // SCALING_BLOCK).sample, blocks, rng)
        draws[name], updates[name] = draw, partial(_update, learner, draw)
    drawing, updating = _alternate(draws, 5 * pairs), _alternate(updates, pairs)
    results = []
    for kind, times in (("update", updating), ("sample", drawing)):
        for name in cases:
            first = f"tasks_{SCALING_TASKS[0]}" if name.startswith("tasks") else f"history_{SCALING_HISTORIES[0]}"
            what = first.replace("tasks_", "tasks: ").replace("history_", "items of history: ")
            results.append(
                BenchResult(f"{kind}_{name}", times[name], "CPU ms, median", times[first], f"the same with {what}")
            )
    return results


def plain_torch(_subject: object, pairs: int = 40) -> list[BenchResult]:
    """What is written out by hand for the CPU, beside what torch has for it: the GRU."""
    rng, blocks = np.random.default_rng(0), -(-BATCH // BLOCK)
    sessions = [_session(rng, f"task {k}", 200, BLOCK) for k in range(50)]
    replay = Replay.of(sessions, OBSERVATION, ACTION, PAST_BLOCKS)
    # The same draws for every way.
    draws = {name: partial(replay.sample, blocks, np.random.default_rng(1)) for name in ("ours", "padded", "packed")}
    learners = {name: _learner() for name in draws}
    learners["padded"].encoder.forward = partial(_padded_gru, learners["padded"].encoder)  # type: ignore[method-assign]
    learners["packed"].encoder.forward = partial(_packed_gru, learners["packed"].encoder)  # type: ignore[method-assign]
    updates = _alternate({name: partial(_update, learners[name], draw) for name, draw in draws.items()}, pairs)
    unit = "CPU ms, median"
    return [
        BenchResult("gru_by_hand", updates["ours"], unit, updates["padded"], "an update with nn.GRU, windows padded"),
        BenchResult("gru_by_hand_packed", updates["ours"], unit, updates["packed"], "with nn.GRU, sequences packed"),
    ]


def _padded_gru(encoder: ContextEncoder, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return pad(encoder.gru(items)[0], (0, 0, 1, 0))


def _packed_gru(encoder: ContextEncoder, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    packed = pack_padded_sequence(items, lengths.clamp_min(1), batch_first=True, enforce_sorted=False)
    outputs, _ = pad_packed_sequence(encoder.gru(packed)[0], batch_first=True, total_length=items.shape[1])
    return pad(outputs, (0, 0, 1, 0))


def _update(learner: TD3Learner, draw: Callable[[], Batch]) -> None:
    learner.update(draw())


def _learner() -> TD3Learner:
    """The published networks: no embedding, no layer norm."""
    published = NaiveConfig()
    return TD3Learner(
        NetworkConfig(
            OBSERVATION,
            ACTION,
            context_size=published.context_size,
            hidden_sizes=published.hidden_sizes,
            critic_layer_norm=False,
            embedding_size=0,
        )
    )


def _session(rng: np.random.Generator, task: str, length: int, block: int) -> Session:
    """Made-up experience that ends at a time limit: the cost does not depend on the numbers."""
    done = np.arange(length) == length - 1
    return Session(
        task=task,
        observation=rng.standard_normal((length, OBSERVATION), dtype=np.float32),
        action=rng.uniform(-1, 1, size=(length, ACTION)).astype(np.float32),
        reward=rng.standard_normal(length, dtype=np.float32),
        next_observation=rng.standard_normal((length, OBSERVATION), dtype=np.float32),
        done=done,
        terminal=np.zeros(length, dtype=np.bool_),
        block=block_numbers(done, block),
    )


def _naive_replay(sessions: list[Session]) -> NaiveReplay:
    replay = NaiveReplay(NaiveConfig())
    for s in sessions:
        replay.add(s.observation, s.action, s.reward, s.next_observation, s.done, s.terminal)
    return replay


def _seconds(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin


def _alternate(actions: Mapping[str, Callable[[], object]], pairs: int) -> dict[str, float]:
    """CPU milliseconds of each action: the median over pairs of calls, because every second update has an actor's."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(pairs + 1):
        for name, action in actions.items():
            times[name].append(500.0 * (_seconds(action) + _seconds(action)))
    return {name: float(np.median(row[1:])) for name, row in times.items()}
