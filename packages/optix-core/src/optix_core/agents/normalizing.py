"""What an agent sees of observations and rewards when they are normalised, and when the statistics move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core.state import State, Stateful

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


class Normalizers:
    """Two optional normalisers behind one interface; without them, everything passes through.

    Statistics of observations move only between windows, so that a window is learned from as it was acted in. Those of
    rewards move before a window's rewards are scaled, since nothing has been done with them yet.

    Attributes:
        observation: Its state belongs to the weights.
        reward: Its state belongs to training.
    """

    def __init__(self, observation: ObsNormalizer | None, reward: RewardNormalizer | None) -> None:
        self.observation, self.reward = observation, reward

    def observations(self, raw: NDArray[Any]) -> NDArray[Any]:
        """``[B, *obs]`` as the networks see them."""
        return raw if self.observation is None else self.observation.normalize(raw)

    def rewards(self, raw: NDArray[np.float64], boundary: NDArray[np.bool_]) -> NDArray[np.float64]:
        """``[T, N]`` as targets are made of them; ``boundary`` tells where episodes end."""
        if self.reward is None:
            return raw
        if self.reward.n_envs != raw.shape[1]:  # the number of environments is known only now
            _start_afresh(self.reward, raw.shape[1])
        self.reward.update(raw, boundary)
        return self.reward.normalize(raw)

    def after_window(self, raw: NDArray[Any]) -> None:
        """Take the window's observations ``[B, *obs]`` into the statistics."""
        if self.observation is not None:
            self.observation.update(raw)

    def reward_part(self) -> Stateful | None:
        """What belongs to the state of training."""
        return None if self.reward is None else _RewardState(self.reward)

    def set_gamma(self, gamma: float) -> None:
        """The discount of the returns whose spread scales rewards."""
        if self.reward is not None:
            self.reward.gamma = gamma


class _RewardState:
    """The state of a reward normaliser, which may come from another number of environments."""

    def __init__(self, reward: RewardNormalizer) -> None:
        self._reward = reward

    def state_dict(self) -> State:
        return self._reward.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _start_afresh(self._reward, len(state["returns"]))
        self._reward.load_state_dict(state)


def _start_afresh(reward: RewardNormalizer, n_envs: int) -> None:
    """Running returns for so many environments; the statistics stay."""
    reward.n_envs = n_envs
    reward.reset()


def make_normalizers(
    observation_shape: tuple[int, ...] | None, gamma: float | None, dtype: np.dtype[Any] | None = None
) -> tuple[ObsNormalizer | None, RewardNormalizer | None]:
    """For observations of a shape (and dtype), and for rewards discounted by gamma; None where None is given."""
    if observation_shape is None and gamma is None:
        return None, None
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer

    return (
        None if observation_shape is None else ObsNormalizer(observation_shape, dtype=dtype),
        None if gamma is None else RewardNormalizer(gamma=gamma),
    )
