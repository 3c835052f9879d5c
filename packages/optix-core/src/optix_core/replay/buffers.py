"""Replay for code that pushes single transitions and reads batches as tuples.

A thin front of :class:`~optix_core.replay.prioritized.PrioritizedReplay`, for agents written by hand. What is pushed is
kept as it is; batches come as float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import ConfigError
from optix_core.replay.batch import NStepTargets
from optix_core.replay.prioritized import PrioritizedReplay
from optix_core.state import State, generator_state, restore_generator

Floats = NDArray[np.float32]
Sample = tuple[Floats, NDArray[Any], Floats, Floats, Floats, Floats, NDArray[np.int64], NDArray[np.int32]]
"""Observations, actions, rewards, next observations, dones, weights, indices, numbers of steps; ``[B, ...]`` each."""


class PrioritizedReplayBuffer:
    """One stream of transitions, drawn by priority (``alpha > 0``) or uniformly (``alpha = 0``).

    Rewards of a sample are sums over up to ``n_step`` steps, next observations and dones belong to the last of them and
    the numbers of steps say how many they were: a target is ``reward + gamma**steps * (1 - done) * value(next_obs)``.

    Args:
        capacity: Transitions kept, at least 1.
        alpha: How much priorities count, in [0, 1].
        beta: How far weights undo the bias of the draw, in [0, 1].
        n_step: Steps to sum, at least 1.
        gamma: Discount, in [0, 1].
        eps: Added to every ``|td|``, at least 0.
        seed: Of the draws.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        capacity: int,
        alpha: float = 0.0,
        beta: float = 0.4,
        n_step: int = 1,
        gamma: float = 0.99,
        eps: float = 1e-6,
        *,
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        self.replay = PrioritizedReplay(capacity, alpha=alpha, eps=eps)
        self.rng = np.random.default_rng(seed)
        self.beta, self.n_step, self.gamma = 0.4, 1, 0.99
        self.set_params(beta=beta, n_step=n_step, gamma=gamma)

    def __len__(self) -> int:
        return len(self.replay)

    @property
    def alpha(self) -> float:
        """How much priorities count."""
        return self.replay.alpha

    def set_params(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        n_step: int | None = None,
        gamma: float | None = None,
    ) -> None:
        """Change what is given, from the next sample on. Nothing stored is lost.

        Raises:
            ConfigError: A value is out of range; nothing is changed then.
        """
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} is {value}; it must lie in [0, 1]")
        if n_step is not None and (int(n_step) != n_step or n_step < 1):
            raise ConfigError(f"n_step is {n_step}; it must be a whole number of at least 1")
        if alpha is not None:
            self.replay.set_alpha(alpha)
        self.beta = self.beta if beta is None else float(beta)
        self.n_step = self.n_step if n_step is None else int(n_step)
        self.gamma = self.gamma if gamma is None else float(gamma)

    def push(
        self,
        obs: ArrayLike,
        action: ArrayLike,
        reward: float,
        next_obs: ArrayLike,
        done: bool,
        *,
        truncated: bool = False,
    ) -> None:
        """Keep one transition.

        Args:
            obs: ``[*obs]``; dtypes stay those of the first transition.
            action: ``[*act]``.
            reward: Of this step.
            next_obs: ``[*obs]`` what truly followed, before any reset.
            done: A terminal state was reached.
            truncated: The episode was cut here; its return goes on with the value of ``next_obs``.
        """
        seen, acted, after = np.asarray(obs)[None], np.asarray(action)[None], np.asarray(next_obs)[None]
        if self.replay.n_envs:
            kept, taken = self.replay.dtypes
            seen, after = seen.astype(kept, casting="same_kind"), after.astype(kept, casting="same_kind")
            acted = acted.astype(taken, casting="same_kind")
        self.replay.add(seen, acted, [reward], after, [done], [truncated])

    def flush_episode(self) -> None:
        """The next transition does not continue the last one. Nothing is waiting and nothing is dropped."""
        self.replay.cut()

    def sample(self, batch_size: int) -> Sample:
        """``batch_size`` transitions, with replacement; ``indices`` are 0 and ``weights`` 1 where ``alpha`` is 0."""
        indices = self.replay.draw(batch_size, self.rng)
        targets, last = self.replay.n_step_targets(indices, self.n_step, self.gamma)
        seen, acted = self.replay.fields_of(indices, "observation", "action")
        (after,) = self.replay.fields_of(last, "next_observation")
        return self.as_tuple(seen, acted, targets, after, indices)

    def as_tuple(
        self,
        seen: NDArray[Any],
        acted: NDArray[Any],
        targets: NStepTargets,
        after: NDArray[Any],
        indices: NDArray[np.int64],
    ) -> Sample:
        """What :meth:`sample` returns, of rows drawn elsewhere."""
        return (
            seen.astype(np.float32, copy=False),
            acted,
            targets.rewards,
            after.astype(np.float32, copy=False),
            targets.terminated.astype(np.float32),
            self.replay.weights(indices, self.beta),
            indices if self.alpha else np.zeros_like(indices),
            targets.steps.astype(np.int32),
        )

    def update_priorities(self, indices: NDArray[np.int64], td_errors: ArrayLike) -> None:
        """``|td|`` becomes the priority of rows ``indices`` ``[B]``; no effect while ``alpha`` is 0."""
        if self.alpha:
            self.replay.update_priorities(np.asarray(indices), np.abs(np.asarray(td_errors, np.float64)))

    def state_dict(self) -> State:
        """Rows, priorities and generator; parameters belong to whoever set them."""
        return {"replay": self.replay.state_dict(), "rng": generator_state(self.rng)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from :meth:`state_dict`."""
        self.replay.load_state_dict(state["replay"])
        restore_generator(self.rng, state["rng"])
