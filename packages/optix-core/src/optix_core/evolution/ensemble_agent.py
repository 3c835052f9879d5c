"""An ensemble as one agent: acts as all of its members together, and trains each of them soundly."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from optix_core.base_agent import ActingState, BaseAgent, DivergenceRecovery, StepwiseLearning
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.evolution import ensemble_files
from optix_core.evolution.combining import batch_acting, combined_batch
from optix_core.evolution.policy_manager import PolicyManager
from optix_core.evolution.roster import AgentFactory, require_no_memory
from optix_core.evolution.spawning import perturb
from optix_core.seeding import Domain, derive_seed
from optix_core.state import State, Stateful
from optix_core.types import EpisodeData, HyperparamSet


class EnsembleAgent(BaseAgent):
    """All members of a :class:`PolicyManager` behind the contract of one agent.

    *Acting.* ``act`` and greedy ``act_batch`` give the ensemble's action, see
    :mod:`~optix_core.evolution.combining`; validation and whoever uses the finished agent therefore meets the ensemble.
    ``act_batch`` as pipelines call it in training gives the actions of one member, the *acting* one, whose turn lasts
    for a window; after ``learn`` the next member has its turn.

    *Learning.* On-policy members learn only from windows that they acted in, so every log-probability belongs to the
    policy that drew the action. Off-policy members learn from all experience, whoever acted.

    Hyperparameters are those of the primary. Weights, state and perturbation are those of all members. The class
    declares no tuning ranges: give the tuner ``param_bounds`` to tune the primary.

    Args:
        policy_manager: Its members; an empty one gets ``primary_agent`` as its first.
        primary_agent: The member whose hyperparameters count, and which is never pruned.
        agent_factory: Builds members that a stored state has and this ensemble lacks.

    Raises:
        ConfigError: The manager has members already, and the first of them is another agent; or the agent acts with a
            memory.
    """

    architecture_keys = ()

    def __init__(
        self,
        policy_manager: PolicyManager,
        primary_agent: BaseAgent,
        *,
        agent_factory: AgentFactory | None = None,
    ) -> None:
        require_no_memory(primary_agent)
        if policy_manager.ensemble_size == 0:
            policy_manager.add_agent(primary_agent)
        elif policy_manager.agents[0] is not primary_agent:
            raise ConfigError(
                "the first member of a policy manager is its primary, and primary_agent is not; add it first"
            )
        self._manager, self._primary, self._factory = policy_manager, primary_agent, agent_factory
        self._turn = 0
        self.accepts_action_masks = all(agent.accepts_action_masks for agent in policy_manager.agents)  # pyright: ignore[reportAttributeAccessIssue] (of the class in agents of one kind)
        if isinstance(primary_agent, StepwiseLearning):
            self.observe = self._observe

    @property
    def policy_manager(self) -> PolicyManager:
        """The members, their weights and how new ones are made."""
        return self._manager

    @property
    def primary(self) -> BaseAgent:
        """The member whose hyperparameters count."""
        return self._primary

    @property
    def acting_member(self) -> int:
        """Index of the member that acts in training now."""
        return self._turn % self._manager.ensemble_size

    @property
    def is_on_policy(self) -> bool:
        """What all members are."""
        return self._primary.is_on_policy

    # ---------------------------------------------------------------- acting

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """The ensemble's action for one observation as ``env.step`` gives it."""
        return self._manager.ensemble_action(observation, deterministic=deterministic)

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """Policy actions ``[N, *act]``: the ensemble's greedy ones, or in training those of the acting member."""
        if deterministic:
            return combined_batch(self._manager.agents, self._manager.weights, observations)
        return batch_acting(self._manager.agents[self.acting_member]).act_batch(observations)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as environment actions, as the primary maps them."""
        return batch_acting(self._primary).env_actions(actions)

    def acting_state(self) -> dict[str, Any]:
        """What acting changes in any member, and in drawing members."""
        return {
            "manager": self._manager.acting_state(),
            "members": [_acting_state(agent) for agent in self._manager.agents],
        }

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        self._manager.load_acting_state(state["manager"])
        for agent, stored in zip(self._manager.agents, state["members"], strict=True):
            if isinstance(agent, ActingState):
                agent.load_acting_state(stored)
            elif isinstance(agent, Stateful):
                agent.load_state_dict(stored)

    # ---------------------------------------------------------------- learning

    def _observe(self, *transitions: NDArray[Any]) -> None:
        """One vector step, for all members; only off-policy ensembles that learn stepwise offer it as ``observe``."""
        for agent in self._manager.agents:
            cast("StepwiseLearning", agent).observe(*transitions)

    def learn(self, episode_data: EpisodeData) -> Mapping[str, Any]:
        """On-policy: the acting member learns, and the turn passes on. Off-policy: every member learns.

        Returns:
            Diagnostics of the member that learned (on-policy) or of the primary, with ``member``, the index of the one
            that acted. Numbers of other members that are not finite are added, so that the loop notices them.
        """
        acted = self.acting_member
        self._turn = (acted + 1) % self._manager.ensemble_size
        if self.is_on_policy:
            return {**self._manager.agents[acted].learn(episode_data), "member": acted}
        reports = [agent.learn(episode_data) for agent in self._manager.agents]
        found = {**reports[0], "member": acted}
        for index, report in enumerate(reports[1:], start=1):
            bad = {k: v for k, v in report.items() if isinstance(v, float) and not math.isfinite(v)}
            found |= {f"member{index}_{name}": value for name, value in bad.items()}
        return found

    def on_divergence(self) -> Mapping[str, Any]:
        """Every member that knows how trains more carefully from here on."""
        changed: dict[str, Any] = {}
        for index, agent in enumerate(self._manager.agents):
            if isinstance(agent, DivergenceRecovery):
                changed |= {f"member{index}_{name}": value for name, value in agent.on_divergence().items()}
        return changed

    # ---------------------------------------------------------------- hyperparameters

    def get_hyperparams(self) -> HyperparamSet:
        """Those of the primary."""
        return self._primary.get_hyperparams()

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force in the primary.

        Raises:
            HyperparamError: As the primary says; nothing is changed then.
        """
        self._primary.set_hyperparams(hyperparams)

    # ---------------------------------------------------------------- persistence

    def save_weights(self, path: str) -> None:
        """Write a folder with the weights of every member, and what each of them weighs."""
        ensemble_files.save(
            Path(path), self._manager.agents, [member.weight for member in self._manager.members]
        )

    def load_weights(self, path: str) -> None:
        """Read what :meth:`save_weights` wrote, all or nothing.

        Raises:
            IncompatibleCheckpoint: It holds another number of members, or a member of another architecture.
            CorruptCheckpoint: It is damaged.
            FileNotFoundError: There is nothing.
        """
        self._set_weights(ensemble_files.load(Path(path), self._manager.agents))

    def average_weights(self, paths: Sequence[str]) -> None:
        """Load the mean of several saved weights, member by member; all or nothing.

        Raises:
            NotImplementedError: A member cannot average.
        """
        agents = self._manager.agents
        stored = [ensemble_files.read_weights(Path(path), len(agents)) for path in paths]
        with tempfile.TemporaryDirectory(prefix="optix-average-") as scratch:
            before = Path(scratch) / "before"
            self.save_weights(str(before))
            try:
                for index, agent in enumerate(agents):
                    agent.average_weights(
                        [str(ensemble_files.member_path(Path(path), index)) for path in paths]
                    )
            except BaseException:
                self.load_weights(str(before))
                raise
        self._set_weights([math.fsum(column) / len(column) for column in zip(*stored, strict=True)])

    def perturb_weights(self, noise_scale: float, *, seed: int | None = None) -> None:
        """Perturb every member, from a seed of its own for each if one is given.

        Raises:
            NotImplementedError: A member cannot be perturbed; those before it have been by then.
        """
        for index, agent in enumerate(self._manager.agents):
            perturb(
                agent, noise_scale, None if seed is None else derive_seed(seed, Domain.PERTURBATION, index)
            )

    def _set_weights(self, weights: Sequence[float]) -> None:
        for member, weight in zip(self._manager.members, weights, strict=True):
            member.weight = weight

    def state_dict(self) -> State:
        """The full state of every member, weights, scores and whose turn it is.

        Raises:
            ConfigError: A member has no ``state_dict``.
        """
        return {
            "turn": self._turn,
            "manager": self._manager.roster_state(),
            "members": {
                str(member.uid): _stateful(member.agent).state_dict() for member in self._manager.members
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, with exactly the members that it holds; all or nothing.

        Raises:
            IncompatibleCheckpoint: Members are missing and there is no ``agent_factory``, or one does not fit.
        """
        if "members" not in state or "manager" not in state:
            raise IncompatibleCheckpoint(f"this is no state of an EnsembleAgent: it has {sorted(state)}")
        before, done = self._manager.roster_state(), list[tuple[Any, State]]()
        kept = self._manager.members
        self._manager.load_roster(state["manager"], agent_factory=self._factory, teardown=False)
        try:
            for member in self._manager.members:
                agent = _stateful(member.agent)
                undo = agent.state_dict()
                agent.load_state_dict(state["members"][str(member.uid)])
                done.append((agent, undo))
        except BaseException:
            for agent, undo in done:
                agent.load_state_dict(undo)
            self._manager.reinstate(kept, before)
            raise
        gone = [member for member in kept if member not in self._manager.members]
        for member in gone:
            member.agent.teardown()
        self._turn = int(state["turn"])

    def teardown(self) -> None:
        """Release every member."""
        for agent in self._manager.agents:
            agent.teardown()


def _acting_state(agent: BaseAgent) -> State | None:
    if isinstance(agent, ActingState):
        return agent.acting_state()
    return agent.state_dict() if isinstance(agent, Stateful) else None


def _stateful(agent: BaseAgent) -> Stateful:
    if not isinstance(agent, Stateful):
        raise ConfigError(
            f"{type(agent).__name__} has no state_dict, so an ensemble with it cannot be stored or resumed"
        )
    return agent
