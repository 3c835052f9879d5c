"""CartPole in which only memory tells how fast things move."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

POSITIONS = (0, 2)
"""Where CartPole's observation has the cart's position and the pole's angle; 1 and 3 are their velocities."""


class CartPoleWithoutVelocities(CartPoleEnv):
    """CartPole-v1 whose observation ``float32 [2]`` is the cart's position (m) and the pole's angle (rad).

    Dynamics, rewards and ends are CartPole's. A policy that sees one observation only cannot tell whether the pole is
    rising or falling; one with memory can, from two.

    Args:
        kwargs: Arguments of gymnasium's ``CartPoleEnv``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        full: Any = self.observation_space
        keep = list(POSITIONS)
        self.observation_space = Box(full.low[keep], full.high[keep], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """As in CartPole, without velocities."""
        inner: Any = super()
        full, info = inner.reset(seed=seed, options=options)
        return full[list(POSITIONS)], info

    def step(self, action: Any) -> Any:
        """As in CartPole, without velocities."""
        inner: Any = super()
        full, *rest = inner.step(action)
        return full[list(POSITIONS)], *rest
