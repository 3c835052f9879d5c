"""Which tasks are run, with which settings, and what is expected of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EPISODES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of the table.

    Attributes:
        name: What ``--tasks`` takes.
        preset: Whose settings are used.
        budget: Environment steps.
        level: What the interquartile mean over seeds is compared with.
        below: It must lie below the level instead of reaching it (a control).
        peer: The class of Stable-Baselines3 or sb3-contrib beside it; None: it has no counterpart.
        peer_note: How that differs from ours, where it does.
        seeds: How many unless ``--seeds`` says otherwise.
        slow: Left out unless named or ``--slow`` is given.
        changes: Settings of the agent that replace the preset's, for both sides.
        framework: Whose agent it is.
    """

    name: str
    preset: str
    budget: int
    level: float
    below: bool = False
    peer: str | None
    peer_note: str = ""
    seeds: int = 5
    slow: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    framework: str = "torch"


TASKS = (
    Task(name="ppo-cartpole", preset="cartpole/ppo", budget=100_000, level=475, peer="PPO"),
    Task(name="dqn-cartpole", preset="cartpole/dqn", budget=50_000, level=475, peer="DQN"),
    Task(
        name="rainbow-cartpole",
        preset="cartpole/rainbow",
        budget=50_000,
        level=475,
        peer="QRDQN",
        peer_note="there is no Rainbow; QR-DQN comes nearest, without priorities, n-step returns and noisy nets",
    ),
    Task(
        name="recurrent-ppo-cartpole-novel",
        preset="cartpole-novel/recurrent-ppo",
        budget=100_000,
        level=450,
        peer="RecurrentPPO",
    ),
    Task(
        name="ppo-cartpole-novel",
        preset="cartpole-novel/ppo",
        budget=100_000,
        level=250,
        below=True,
        peer="PPO",
    ),
    Task(name="sac-pendulum", preset="pendulum/sac", budget=20_000, level=-170, peer="SAC"),
    Task(name="td3-pendulum", preset="pendulum/td3", budget=20_000, level=-170, peer="TD3"),
    Task(name="ppo-pendulum", preset="pendulum/ppo", budget=100_000, level=-250, peer="PPO"),
    Task(
        name="dqn-lunar-lander",
        preset="lunar-lander/dqn",
        budget=200_000,
        level=180,
        peer="DQN",
        seeds=3,
        slow=True,
    ),
    Task(
        name="ppo-acrobot",
        preset="acrobot/ppo",
        budget=300_000,
        level=-95,
        peer="PPO",
        seeds=3,
        slow=True,
    ),
    Task(
        name="sac-lunar-lander-continuous",
        preset="lunar-lander-continuous/sac",
        budget=300_000,
        level=230,
        peer="SAC",
        seeds=3,
        slow=True,
        changes={"hidden_sizes": [128, 128], "batch_size": 128},
    ),
    *(
        Task(
            name=f"{framework}-{name}",
            preset=preset,
            budget=budget,
            level=level,
            peer=None,
            framework=framework,
        )
        for framework in ("jax", "tf")
        for name, preset, budget, level in (
            ("ppo-cartpole", "cartpole/ppo", 100_000, 475),
            ("ppo-pendulum", "pendulum/ppo", 100_000, -250),
            ("dqn-cartpole", "cartpole/dqn", 50_000, 475),
            ("sac-pendulum", "pendulum/sac", 20_000, -170),
            ("td3-pendulum", "pendulum/td3", 20_000, -170),
        )
    ),
)
