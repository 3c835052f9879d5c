"""How a window is cut into sequences, and how sequences are packed into minibatches.

A sequence is a run of steps of one environment within one episode, so that memory never has to be reset inside one; it
begins with the memory that the agent had there (Kapturowski et al. 2019, "Recurrent experience replay in distributed
reinforcement learning", section 3, call this the stored state).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_core.types import EpisodeData

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sequences:
    """S sequences of a window of N environments whose rows are ``t * N + n``.

    Attributes:
        first: ``[S]`` the row of each one's first step.
        lengths: ``[S]`` steps of each, at least 1.
        stride: N, how far apart two steps of one environment are.
    """

    first: Indices
    lengths: Indices
    stride: int

    @classmethod
    def cut(cls, ends: NDArray[np.bool_], limit: int) -> Sequences:
        """Cut each environment's steps after every end of an episode, and after ``limit`` steps since the last cut.

        Args:
            ends: ``[T, N]``, where an episode ended.
            limit: Most steps of one sequence; 0: no limit.
        """
        steps, n_envs = ends.shape
        first: list[int] = []
        lengths: list[int] = []
        for n in range(n_envs):
            start = 0
            for stop in [*(np.flatnonzero(ends[:-1, n]) + 1).tolist(), steps]:
                for begin in range(start, stop, limit or steps):
                    first.append(begin * n_envs + n)
                    lengths.append(min(limit or steps, stop - begin))
                start = stop
        return cls(np.array(first, np.int64), np.array(lengths, np.int64), n_envs)

    def minibatches(self, size: int, rng: np.random.Generator) -> Iterator[Packed]:
        """One pass over all sequences in random order, in minibatches of nearly equal numbers of steps.

        Args:
            size: Steps per minibatch to aim at; sequences are never torn apart.
            rng: Draws one permutation.
        """
        order = rng.permutation(len(self.lengths))
        ends = np.cumsum(self.lengths[order])
        pieces = max(1, round(int(ends[-1]) / size))
        # a sequence belongs to the minibatch in which its middle lies
        middles = ends - 0.5 * self.lengths[order]
        owner = np.minimum((middles * (pieces / ends[-1])).astype(np.int64), pieces - 1)
        for piece in range(pieces):
            chosen = order[owner == piece]
            if len(chosen):
                yield self.pack(chosen)

    def pack(self, chosen: Indices) -> Packed:
        """The sequences ``chosen``, packed as PyTorch packs them: time step by time step, the longest first."""
        chosen = chosen[np.argsort(-self.lengths[chosen], kind="stable")]
        lengths = self.lengths[chosen]
        times = np.arange(lengths[0])[:, None]
        there = times < lengths
        rows = (self.first[chosen] + times * self.stride)[there]
        return Packed(rows, there.sum(axis=1).tolist(), self.first[chosen], there)


@dataclass(frozen=True, slots=True)
class Packed:
    """Some sequences without padding, sorted from long to short.

    Attributes:
        rows: ``[R]`` rows of the window: all first steps, then the second steps of those that have one, ...
        counts: How many sequences have step t, for each t.
        first: ``[S]`` rows with which they begin.
        there: ``[L, S]`` whether a sequence has step t: where packed rows lie in a padded array.
    """

    rows: Indices
    counts: list[int]
    first: Indices
    there: NDArray[np.bool_]


def memory_before(window: EpisodeData, size: int, *, owner: str) -> NDArray[Any]:
    """``[T * N, M]``: the memory before each step, zeros where an episode begins.

    Raises:
        ConfigError: The window does not tell it, or it is of another agent.
    """
    if window.hidden_states is None:
        raise ConfigError(
            f"this window has no hidden_states, without which {owner} cannot know what the policy remembered when it "
            "acted. Its pipeline must keep one row of memory per environment: zeros where an episode begins, then what "
            "act_batch_with_memory returns, and store it as it was before each step, float32 [T, N, M] (BatchPipeline "
            "and VectorBatchPipeline do so)"
        )
    memory = window.time_major("hidden_states")
    expected = (*window.time_major("rewards").shape, size)
    if memory.shape != expected:
        raise ConfigError(
            f"hidden_states has shape {memory.shape}, but {owner} with this network needs {expected}: one row of "
            "memory_size numbers per step"
        )
    memory = memory.copy()
    memory[1:][window.time_major("dones")[:-1]] = 0.0
    return memory.reshape(-1, size)


def memory_of_successors(window: EpisodeData, after: NDArray[Any]) -> NDArray[Any]:
    """``[N + K, M]``: the memory with which each of ``optix_core.rl.successors.successors`` is seen.

    Args:
        window: Whose steps they are.
        after: ``[T * N, M]`` the memory after each step, before any reset.
    """
    after = after.reshape(*window.time_major("rewards").shape, -1)
    if window.boundary_steps is None or not len(window.boundary_steps):
        return after[-1]
    return np.concatenate([after[-1], after[window.boundary_steps[:, 0], window.boundary_steps[:, 1]]])
