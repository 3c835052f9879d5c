"""Prioritised replay (Schaul et al. 2016, arXiv:1511.05952, the proportional variant)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import ConfigError
from optix_core.replay.batch import Batch
from optix_core.replay.ring import ReplayBuffer
from optix_core.replay.sum_tree import FAN, SumTree
from optix_core.state import State


class PrioritizedReplay(ReplayBuffer):
    """Row i is drawn with probability ``p_i / sum p``, ``p_i = (priority_i + eps)^alpha`` (section 3.3 there).

    A new row gets the largest priority ever given, so that it is drawn soon; 1 before there was any. What is kept is
    the raw priority, so ``alpha`` may change at any time.

    Args:
        capacity: Rows in total, over all environments.
        alpha: How much priorities count, in [0, 1]; 0 draws uniformly.
        eps: Added to priorities so that no row is out of reach, at least 0.
        memory_fraction: As for :class:`ReplayBuffer`.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self, capacity: int, *, alpha: float = 0.6, eps: float = 1e-6, memory_fraction: float = 0.8
    ) -> None:
        super().__init__(capacity, memory_fraction=memory_fraction)
        if not 0.0 <= eps < np.inf:
            raise ConfigError(f"eps is {eps}; it must be a number of at least 0")
        self.eps = float(eps)
        self._alpha = _checked_alpha(alpha)
        self._largest = np.float32(1.0)
        self._waiting = 0  # rows from this number on are not in the tree yet

    @property
    def alpha(self) -> float:
        """How much priorities count; see :meth:`set_alpha`."""
        return self._alpha

    @property
    def max_priority(self) -> float:
        """What new rows get: the largest priority ever given, 1 before there was any."""
        return float(self._largest)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held; 0 before the first :meth:`add`."""
        return 0 if self._rows is None else self._rows.nbytes + self._raw.nbytes + self._tree.nbytes

    def priorities(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[B]`` raw priorities of rows ``indices``, as they were given."""
        self._require_rows()
        self._catch_up()
        return self._raw[indices]

    def clear(self) -> None:
        """Forget all rows and priorities."""
        super().clear()
        self._largest, self._waiting = np.float32(1.0), 0
        if self._rows is not None:
            self._tree.leaves[:] = 0.0
            self._tree.rebuild()

    def sample(
        self,
        batch_size: int,
        rng: np.random.Generator,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        beta: float = 0.4,
    ) -> Batch:
        """As :meth:`ReplayBuffer.sample`, drawn by priority and weighted.

        Args:
            batch_size: B, at least 1.
            rng: Makes the choice.
            n_step: At least 1.
            gamma: Discount, in [0, 1].
            beta: How far weights undo the bias of the draw, 0 (not) to 1 (wholly).

        Raises:
            ValueError: The buffer is empty or an argument is out of range.
        """
        indices = self.draw(batch_size, rng)
        return self.batch(indices, n_step=n_step, gamma=gamma, weights=self.weights(indices, beta))

    def draw(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``[B]`` rows by priority, one from each of B ranges of equal mass (appendix B.2.1 there)."""
        self._check_draw(batch_size)
        self._catch_up()
        return self._tree.find((np.arange(batch_size) + rng.random(batch_size)) / batch_size)

    def weights(self, indices: NDArray[np.int64], beta: float) -> NDArray[np.float32]:
        """``[B]`` importance weights ``(len * P_i)^-beta``, divided by the largest among them (section 3.4 there)."""
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta is {beta}; it must lie in [0, 1]")
        self._catch_up()
        drawn = self._tree.leaves[indices]
        # The division leaves only ratios of probabilities: length and total cancel.
        return ((drawn / drawn.min()) ** -beta).astype(np.float32)

    def update_priorities(self, indices: NDArray[np.int64], priorities: ArrayLike) -> None:
        """Give rows new raw priorities, for example absolute TD errors; the last counts where a row appears twice.

        Args:
            indices: ``[B]`` as drawn.
            priorities: ``[B]``, finite and at least 0; ``eps`` and ``alpha`` are applied here.

        Raises:
            ValueError: A priority is negative, NaN or infinite; nothing is changed then.
        """
        given = np.asarray(priorities, dtype=np.float32)
        if given.shape != indices.shape or not given.size:
            raise ValueError(f"{given.shape} priorities for {indices.shape} indices; expected as many, [B]")
        largest = given.max()
        if not (given.min() >= 0.0 and largest < np.inf):
            raise ValueError("priorities must be finite and at least 0; was the loss NaN? skip that update")
        self._require_rows()
        self._catch_up()
        self._raw[indices] = given
        self._largest = max(self._largest, largest)
        self._tree.leaves[indices] = self._powers(self._raw[indices])
        self._tree.refresh(indices)

    def set_alpha(self, alpha: float) -> None:
        """Let priorities count differently from now on; rows and raw priorities stay.

        Raises:
            ConfigError: Outside [0, 1].
        """
        alpha = _checked_alpha(alpha)
        if alpha != self._alpha:
            self._alpha = alpha
            if self._rows is not None:
                self._rebuild()

    def state_dict(self) -> State:
        """As :meth:`ReplayBuffer.state_dict`, and the raw priorities; the tree follows from them."""
        raw = None
        if self._rows is not None:
            self._catch_up()
            raw = self._raw[: len(self)].copy()
        return {
            **super().state_dict(),
            "priorities": raw,
            "alpha": self._alpha,
            "max_priority": float(self._largest),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from :meth:`state_dict`.

        Raises:
            ValueError: As for :meth:`ReplayBuffer.load_state_dict`.
        """
        alpha, raw = _checked_alpha(state["alpha"]), state["priorities"]
        rows = min(int(state["total"]), self.capacity)
        if raw is not None and (raw.shape, raw.dtype) != ((rows,), np.dtype(np.float32)):
            raise ValueError("the stored replay buffer is damaged: its priorities are not those of its rows")
        super().load_state_dict(state)
        self._alpha, self._largest = alpha, np.float32(state["max_priority"])
        self._waiting = self._total
        if raw is not None and self._rows is not None:
            self._raw[:rows] = raw
            self._rebuild()

    @property
    def _extra_bytes(self) -> int:
        return 4 + 8 + -(-8 * 2 // FAN)  # raw priority, leaf, share of the nodes above

    def _allocate(self, dtype: np.dtype[Any], n_envs: int) -> None:
        super()._allocate(dtype, n_envs)
        self._raw = np.zeros(self.capacity, np.float32)
        self._tree = SumTree(self.capacity)

    def _powers(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        return (raw.astype(np.float64) + self.eps) ** self._alpha

    def _catch_up(self) -> None:
        """Rows added since the last draw enter the tree, all at once; they all get the same priority."""
        new = self._total - self._waiting
        if not new:
            return
        head, start = self._total % self.capacity, self._waiting % self.capacity
        if new >= self.capacity:
            spans = [(0, self.capacity)]
        elif start < head:
            spans = [(start, head)]
        else:
            spans = [span for span in ((start, self.capacity), (0, head)) if span[0] < span[1]]
        leaf = self._powers(np.asarray([self._largest]))
        for low, high in spans:
            self._raw[low:high] = self._largest
            self._tree.leaves[low:high] = leaf
            self._tree.refresh_span(low, high)
        self._waiting = self._total

    def _rebuild(self) -> None:
        self._catch_up()
        size = len(self)
        self._tree.leaves[:size] = self._powers(self._raw[:size])
        self._tree.leaves[size:] = 0.0
        self._tree.rebuild()


def _checked_alpha(alpha: float) -> float:
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(f"alpha is {alpha}; it must lie in [0, 1]: 0 draws uniformly, 1 by priority")
    return float(alpha)
