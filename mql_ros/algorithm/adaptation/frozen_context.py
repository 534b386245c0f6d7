"""Contexts of stored transitions under an encoder that does not move: each window is encoded once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.learner import Learner

CHUNK = 4096
"""Transitions in one recurrent pass."""


class FrozenContexts:
    """What `Learner.contexts` finds for transitions of one replay, looked up; C context size.

    Valid as long as neither the encoder nor the replay changes.
    """

    def __init__(self, learner: Learner, replay: Replay, indices: NDArray[np.int64]) -> None:
        """Encode the histories of the n transitions `indices` of the replay, without gradient."""
        self._place = torch.full((replay.index_size,), -1)
        self._place[torch.from_numpy(indices)] = torch.arange(len(indices))
        chunks = [indices[begin : begin + CHUNK] for begin in range(0, len(indices), CHUNK)]
        with torch.no_grad():
            found = [torch.stack(learner.contexts(replay.gather(chunk).to(learner.device))) for chunk in chunks]
        self._contexts = torch.cat(found, dim=1)  # [2, n, C]

    def of(self, batch: Batch) -> Tensor:
        """[2, M, C]: context of each transition of a batch from this replay, and of the step after it.

        Raises ValueError when a transition was not among those that were encoded.
        """
        place = self._place[batch.index]
        if torch.any(place < 0):
            raise ValueError("The batch holds a transition whose context was not encoded.")
        return self._contexts[:, place.to(self._contexts.device)]
