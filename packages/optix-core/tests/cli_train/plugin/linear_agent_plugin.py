"""A plugin for tests: a linear policy that climbs hills, without any framework."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.plugin import API_VERSION, AgentSpec, Hyper, hookimpl
from optix_core.seeding import Domain, generator
from optix_core.state import generator_state, restore_generator
from optix_core.types import HyperparamSet, ParamBounds

OPTIX_API = API_VERSION


class LinearAgent(BaseAgent):
    """Greedy on ``obs @ weights``; keeps a random change when the mean return of the window did not fall."""

    default_param_bounds: ClassVar[ParamBounds] = {"noise": (0.01, 2.0)}

    def __init__(self, n_in: int, n_out: int, noise: float, seed: int) -> None:
        self.rng = generator(seed, Domain.INIT)
        self.noise = noise
        self.best = np.zeros((n_in, n_out))
        self.best_return = -np.inf
        self.weights = self.best.copy()

    def act(self, observation: Any, deterministic: bool = False) -> int:
        return int(np.argmax(np.asarray(observation, float) @ self.weights))

    def learn(self, episode_data: Any) -> dict[str, float]:
        returns = [e.episode_return for e in episode_data.episodes]
        found = float(np.mean(returns)) if returns else float(episode_data.n_steps)
        if found >= self.best_return:
            self.best, self.best_return = self.weights, found
        self.weights = self.best + self.noise * self.rng.normal(size=self.best.shape)
        return {"climbed_to": self.best_return}

    def get_hyperparams(self) -> HyperparamSet:
        return HyperparamSet({"noise": self.noise})

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        self.noise = float(hyperparams.params["noise"])

    def save_weights(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.weights.tolist()))

    def load_weights(self, path: str) -> None:
        self.weights = np.array(json.loads(Path(path).read_text()))

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self.weights.copy(),
            "best": self.best.copy(),
            "best_return": self.best_return,
            "noise": self.noise,
            "rng": generator_state(self.rng),
        }

    def load_state_dict(self, state: Any) -> None:
        self.weights, self.best = np.array(state["weights"]), np.array(state["best"])
        self.best_return, self.noise = float(state["best_return"]), float(state["noise"])
        restore_generator(self.rng, state["rng"])


def build(ctx: Any, /, **_options: Any) -> LinearAgent:
    n_in = int(np.prod(ctx.observation_space.shape))
    return LinearAgent(n_in, int(ctx.action_space.n), ctx.hyperparams["noise"], ctx.seed or 0)


@hookimpl
def optix_agents() -> list[AgentSpec]:
    return [
        AgentSpec(
            name="Linear",
            algorithm="Climb",
            framework="numpy",
            action_spaces=frozenset({"discrete"}),
            factory="linear_agent_plugin:build",
            default_rank=1,
            hyperparams=(Hyper("noise", 0.5, low=0.0, low_open=True, tune=(0.01, 2.0), log=True),),
        ),
        AgentSpec(
            name="SAC",  # never built: for the message about spaces
            framework="numpy",
            action_spaces=frozenset({"box"}),
            factory="linear_agent_plugin:build",
        ),
    ]
