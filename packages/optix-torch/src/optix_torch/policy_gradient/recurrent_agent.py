"""How agents with a memory act: by the memory of whoever steps the environments, or by one of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.box_actions import BoxActions
from optix_core.agents.describing import Described
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.export import GraphBuilder
from optix_core.rl.masking import split_masks, with_masks
from optix_core.state import State
from optix_torch.describing import describe, last_width, recurrent
from optix_torch.policy_gradient.recurrent_actor_critic import RecurrentActorCritic


class RecurrentAgent(StoredAgent):
    """Acts with a :class:`~optix_torch.policy_gradient.recurrent_actor_critic.RecurrentActorCritic`.

    Subclasses set the attributes below and keep :attr:`_own` among the parts of their state.

    Attributes:
        memory_size: M, the numbers that one environment's memory consists of.
    """

    accepts_intrinsic_rewards = True
    memory_size: int

    _networks: RecurrentActorCritic
    _normalizers: Normalizers
    _actions: BoxActions | DiscreteActions
    _single: SingleObservation
    _own: OwnMemory

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """An action of the environment, by a memory and a random stream of its own: training never notices.

        It remembers the observations of earlier calls; :meth:`reset_memory` begins a new episode. To say which actions
        are allowed, pass ``{"observation": observation, "action_mask": mask}``.
        """
        actions, self._own.memory = self._act(
            self._single(observation), self._own.memory, self._streams.single, deterministic=deterministic
        )
        return self._actions.one(actions)

    def reset_memory(self) -> None:
        """Let :meth:`act` forget what it has seen."""
        self._own.memory = np.zeros_like(self._own.memory)

    def act_batch_with_memory(
        self, observations: NDArray[Any], memory: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Policy actions for ``[N, *obs]``, and the memory ``[N, M]`` after the step; fresh arrays.

        Actions are ``[N]`` or ``[N, K]``, counted from 0; for a Box ``[N, A]``, unbounded.

        Args:
            observations: ``[N, *obs]``, raw.
            memory: ``[N, M]`` float32 before the step; not written to.
            deterministic: Take the most probable actions and draw nothing.
        """
        return self._act(observations, memory, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the action space, ``[N, *act]``; a Box clips what it is not mapped to."""
        return self._actions.to_env(actions)

    def acting_state(self) -> State:
        """What acting changes: random streams, and the memory of :meth:`act`."""
        return {**super().acting_state(), **self._own.state_dict()}

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        super().load_acting_state(state)
        self._own.load_state_dict(state)

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        modules: dict[str, Any] = dict(self._networks.training.modules)
        features = describe(b, modules["encoder"], x) if "encoder" in modules else b.add("flatten", x)
        seen = recurrent(b, modules["rnn"], features)
        head = modules["actor_head"]
        return self._actions.describe(b, describe(b, head, seen), mask, last_width(head))

    def _act(
        self,
        observations: NDArray[Any],
        memory: NDArray[np.float32],
        rng: np.random.Generator,
        *,
        deterministic: bool,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        observations, masks = split_masks(observations)
        features, _, after = self._networks.remember(self._normalizers.observations(observations), memory)
        if masks is not None:
            features = with_masks(features, masks)
        return self._networks.policy.act(features, rng, deterministic=deterministic), after


class OwnMemory:
    """What ``act`` remembers from one call to the next.

    Attributes:
        memory: ``[1, M]``.
    """

    def __init__(self, size: int) -> None:
        self.memory: NDArray[np.float32] = np.zeros((1, size), np.float32)

    def state_dict(self) -> State:
        """A copy."""
        return {"memory": self.memory.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember that."""
        self.memory = np.array(state["memory"], np.float32).reshape(self.memory.shape)
