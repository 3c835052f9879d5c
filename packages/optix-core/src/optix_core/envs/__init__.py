"""Environments that core brings along, under ids that begin with ``optix/``; gymnasium knows them once asked for.

``make_agent``, ``Optimizer`` and the command line accept their ids as they are. For ``gymnasium.make``, call
:func:`register` first.
"""

from __future__ import annotations

from typing import Any

NAMESPACE = "optix"
CARTPOLE_WITHOUT_VELOCITIES = "optix/CartPoleNoVel-v0"
GOAL_GRID = "optix/GoalGrid-v0"


def register() -> None:
    """Let gymnasium know the environments of this package. Calling it again changes nothing."""
    import gymnasium

    known: Any = gymnasium
    if CARTPOLE_WITHOUT_VELOCITIES not in known.registry:
        known.register(
            CARTPOLE_WITHOUT_VELOCITIES,
            entry_point="optix_core.envs.cartpole:CartPoleWithoutVelocities",
            max_episode_steps=500,
            reward_threshold=475.0,
        )
    if GOAL_GRID not in known.registry:
        known.register(GOAL_GRID, entry_point="optix_core.testing.goal_grid:GoalGrid")
