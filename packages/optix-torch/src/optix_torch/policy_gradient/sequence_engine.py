"""The PPO update for networks with a memory: minibatches are packed sequences instead of single steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optix_core.agents.ppo_update import PPOBatch
from optix_torch.policy_gradient.autograd import AutogradEngine, Distribution, Evaluated, Network, Staged
from optix_torch.policy_gradient.sequences import Packed, Sequences
from optix_torch.training.batching import cast, take
from optix_torch.training.flat import FlatParameters

Run = Callable[[Any, Tensor, Packed], tuple[Tensor, Tensor]]
"""``(observations [R, *obs], memory [S, M], packed) -> what actor's and critic's heads read, [R, H] each``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatch(PPOBatch):
    """A window that was acted in with a memory.

    Attributes:
        memory: ``[B, M]`` before each step.
        sequences: How the window is cut.
    """

    memory: NDArray[np.float32]
    sequences: Sequences


class SequenceEngine(AutogradEngine):
    """An :class:`AutogradEngine` whose actor and critic are heads that read what ``run`` gives for sequences.

    ``values`` and ``log_probs`` take these features, too, instead of observations.
    """

    def __init__(
        self,
        run: Run,
        actor: Network,
        critic: Network,
        distribution: Distribution,
        flat: FlatParameters,
        optimizer: torch.optim.Optimizer,
        *,
        joined: bool,
    ) -> None:
        super().__init__(actor, critic, distribution, flat, optimizer, joined=joined)
        self._run = run
        self._memory, self._sequences = torch.empty(0), Sequences.cut(np.zeros((1, 0), np.bool_), 0)

    def _staged(self, batch: PPOBatch) -> Staged:
        assert isinstance(batch, SequenceBatch)
        self._memory, self._sequences = self._flat.tensor(batch.memory), batch.sequences
        return super()._staged(batch)

    def _minibatches(self, data: Staged, size: int, rng: np.random.Generator) -> Iterator[Evaluated]:
        device, dtype = self._flat.grad.device, self._flat.vector.dtype
        for packed in self._sequences.minibatches(size, rng):
            rows, first = (torch.from_numpy(index).to(device) for index in (packed.rows, packed.first))
            seen, judged = self._run(cast(take(data.observations, rows), dtype), self._memory[first], packed)
            allowed = None if data.masks is None else data.masks[rows]
            log_probs, entropies = self._log_probs(self._actor(seen), data.actions[rows], allowed)
            yield Evaluated(log_probs, entropies, self._values(judged), data.columns[:, rows])
