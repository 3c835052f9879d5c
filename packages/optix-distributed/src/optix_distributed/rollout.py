"""One actor's environments and policy, wherever it runs and wherever its trajectories go.

The loop is core's own way of collecting windows, with a policy in numpy; no framework is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.remote import RemotePolicy, remote_policy
from optix_core.agents.box_actions import actions_of
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.collector import WindowCollector
from optix_core.pipelines.faults import FaultPolicy
from optix_core.pipelines.stepping import ListStepper
from optix_core.seeding import Domain, derive_seed, generator
from optix_core.types import EpisodeData
from optix_distributed.boot import Boot
from optix_distributed.shared.plan import RECORD


class Stopped(Exception):
    """The learner wants no more."""


class Rollout:
    """One actor's environments and policy, wherever its trajectories go.

    Args:
        boot: What it was told.
        actor_id: Which actor it is.
        incarnation: How often it was replaced before.
        on_step: Called before every vector step with the number of environments.
    """

    def __init__(
        self, boot: Boot, actor_id: int, incarnation: int, on_step: Callable[[int], None] | None = None
    ) -> None:
        n = boot.plan.envs_per_actor
        makers = boot.envs.fn
        first = (actor_id * n) % len(makers)
        factories = [makers[(first + i) % len(makers)] for i in range(n)]
        self.faults = FaultPolicy(boot.on_env_error, boot.on_nonfinite)  # type: ignore[arg-type]
        root = derive_seed(boot.seed, Domain.ENV, actor_id, incarnation)
        self._stepper = ListStepper(
            [make() for make in factories], factories, root_seed=root, policy=self.faults
        )
        self._collector = WindowCollector(self._stepper, self.faults, strict=boot.strict)
        space: Any = self._stepper.envs[0].action_space
        to_env = actions_of(space, "the policy").to_env
        rng = generator(boot.seed, Domain.POLICY, actor_id, incarnation)
        self.policy: RemotePolicy = remote_policy(boot.spec, to_env, rng)
        acting = self.policy if on_step is None else _watched(self.policy, on_step)
        self._actor = Actor(acting, self._stepper.action_space, self._stepper.observation_space)

    def collect(self, steps: int) -> tuple[EpisodeData, NDArray[np.float32]]:
        """A window ``[steps, N]`` and the log-probabilities of its actions under the policy that acted."""
        window = self._collector.collect(steps, self._actor)
        flat = window.observations.reshape(-1, *window.observations.shape[2:])
        actions = window.actions.reshape(-1, *window.actions.shape[2:])
        memory = None
        if window.hidden_states is not None:
            memory = window.hidden_states.reshape(-1, window.hidden_states.shape[2])
        log_probs = self.policy.log_probs(flat, actions, memory)
        return window, log_probs.reshape(window.rewards.shape)

    def close(self) -> None:
        """Close the environments."""
        self._stepper.close()


def _watched(policy: RemotePolicy, on_step: Callable[[int], None]) -> RemotePolicy:
    """``policy``, which calls ``on_step`` before it acts."""
    act, remember = policy.act_batch, policy.act_batch_with_memory

    def act_batch(observations: Any, *, deterministic: bool = False) -> Any:
        on_step(len(observations))
        return act(observations, deterministic=deterministic)

    def act_batch_with_memory(observations: Any, memory: Any, *, deterministic: bool = False) -> Any:
        on_step(len(observations))
        return remember(observations, memory, deterministic=deterministic)

    policy.act_batch = act_batch
    policy.act_batch_with_memory = act_batch_with_memory
    return policy


def write_slot(slot: dict[str, NDArray[Any]], window: EpisodeData, log_probs: NDArray[np.float32]) -> None:
    """Put a window into shared memory."""
    assert window.boundary_steps is not None
    ends, episodes = len(window.boundary_steps), len(window.episodes)
    for name in (
        "observations",
        "actions",
        "rewards",
        "terminated",
        "truncated",
        "final_obs",
        "episode_starts",
    ):
        slot[name][:] = getattr(window, name)
    slot["log_probs"][:] = log_probs
    if "hidden_states" in slot:
        slot["hidden_states"][:] = window.hidden_states
    slot["boundary_steps"][:ends] = window.boundary_steps
    if ends:
        slot["boundary_observations"][:ends] = window.boundary_observations
    records = slot["episodes"]
    for i, e in enumerate(window.episodes):
        seed = -1 if e.seed is None else e.seed
        records[i] = np.array((e.env_index, e.step, e.episode_return, e.length, e.terminated, seed), RECORD)
    slot["counts"][:3] = window.length, ends, episodes
