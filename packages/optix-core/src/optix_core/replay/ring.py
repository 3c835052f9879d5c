"""Uniform replay: n-step returns over the rows of a ring, made when they are drawn.

Everything that depends on hyperparameters (n-step sums, discounts, hindsight goals) is made at the draw, so ``n_step``
and ``gamma`` may change at any time, no return bridges a reset, and nothing waits in a queue that a checkpoint could
forget.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optix_core.replay.batch import Batch, NStepTargets, n_step_targets
from optix_core.replay.rows import TERMINATED
from optix_core.replay.store import FIELDS, RowStore


class ReplayBuffer(RowStore):
    """The last ``capacity`` environment steps, drawn uniformly with replacement.

    Memory is taken at the first :meth:`add`, when dtypes and the number of environments are known.

    Args:
        capacity: Rows in total, over all environments.
        memory_fraction: Share of the available memory (container limits count) that the buffer may take, in (0, 1].

    Raises:
        ConfigError: An argument is out of range.
    """

    def sample(
        self, batch_size: int, rng: np.random.Generator, *, n_step: int = 1, gamma: float = 0.99
    ) -> Batch:
        """A batch of ``batch_size`` rows, each with the return of up to ``n_step`` steps from there.

        Fewer steps are summed where the episode ends or was cut before, and at the newest rows, whose future is yet
        to come; ``discounts`` says so.

        Args:
            batch_size: B, at least 1.
            rng: Makes the choice.
            n_step: At least 1.
            gamma: Discount, in [0, 1].

        Raises:
            ValueError: The buffer is empty or an argument is out of range.
        """
        return self.batch(self.draw(batch_size, rng), n_step=n_step, gamma=gamma)

    def draw(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``[B]`` rows, uniformly with replacement."""
        self._check_draw(batch_size)
        return rng.integers(len(self), size=batch_size)

    def batch(
        self,
        indices: NDArray[np.int64],
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        weights: NDArray[np.float32] | None = None,
    ) -> Batch:
        """The batch that begins at rows ``indices`` ``[B]``; as :meth:`sample` otherwise."""
        if n_step == 1 and 0.0 <= gamma <= 1.0 and self._rows is not None:
            seen, acted, rewards, after, flags = self.fields_of(indices, *FIELDS)
            discounts = np.where(flags & TERMINATED, np.float32(0.0), np.float32(gamma))
        else:
            targets, last = self.n_step_targets(indices, n_step, gamma)
            rewards, discounts = targets.rewards, targets.discounts
            seen, acted = self.fields_of(indices, "observation", "action")
            (after,) = self.fields_of(last, "next_observation")
        return Batch(
            observations=seen,
            actions=acted,
            rewards=rewards,
            next_observations=after,
            discounts=discounts,
            weights=np.ones(len(indices), np.float32) if weights is None else weights,
            indices=indices,
        )

    def n_step_targets(
        self, indices: NDArray[np.int64], n_step: int, gamma: float
    ) -> tuple[NStepTargets, NDArray[np.int64]]:
        """Returns of up to ``n_step`` steps from rows ``indices`` ``[B]``, and the row of the last step of each."""
        at, stops = self.path(indices, n_step)
        ended = (self._fields["flags"][at] & TERMINATED).astype(np.bool_)
        targets = n_step_targets(self._fields["reward"][at], ended, stops, gamma)
        return targets, at[np.arange(len(at)), targets.steps - 1]

    def path(self, indices: NDArray[np.int64], n_step: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """``[B, n]`` the rows that follow each of ``indices`` in its environment, itself first.

        The second array, ``[B, n]`` bool, says after which rows the path does not go on: the episode ended or was
        cut, or nothing newer is stored. What stands behind the first such row has no meaning.
        """
        if int(n_step) != n_step or n_step < 1:
            raise ValueError(f"n_step is {n_step}; a return sums a whole number of steps, at least 1")
        self._require_rows()
        ahead = np.arange(n_step, dtype=np.int64) * self._n_envs
        at = (indices[:, None] + ahead) % self.capacity
        newer = (self._total - 1 - indices) % self.capacity
        return at, (self._fields["flags"][at] != 0) | (newer[:, None] < ahead + self._n_envs)

    def _check_draw(self, batch_size: int) -> None:
        if int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has a whole number of rows, at least 1")
        self._require_rows()
