"""The members of an ensemble, what they weigh, and what they do together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optix_core.base_agent import BaseAgent, CompanionCallbacks, RecurrentActing
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.evolution.combining import combined
from optix_core.evolution.weighting import normalised, pooled_spread, softmax_weights
from optix_core.seeding import Domain, generator
from optix_core.state import State, generator_state, restore_generator

AgentFactory = Callable[[], BaseAgent]
"""Builds a fresh agent for the ensemble, of the kind of its primary."""


@dataclass(slots=True, eq=False)
class Member:
    """One agent of the ensemble.

    Attributes:
        uid: Its number, never given again.
        agent: The agent.
        weight: What its vote counts, at least 0.
        scores: Its newest scores.
    """

    uid: int
    agent: BaseAgent
    weight: float
    scores: deque[float] = field(default_factory=deque[float])

    @property
    def mean_score(self) -> float | None:
        """Mean of the newest scores; None without any."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else None


class Roster:
    """Members with weights from their scores; the first one added is the *primary*, which is never removed.

    Args:
        score_window: Scores remembered per member, at least 1.
        max_ensemble_size: Members at most, at least 1; a new one takes the place of the weakest. None: no limit.
        seed: Of sampled actions.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(self, score_window: int, max_ensemble_size: int | None, seed: int) -> None:
        for name, value in (("score_window", score_window), ("max_ensemble_size", max_ensemble_size)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        self._window, self._max_size = score_window, max_ensemble_size
        self._rng = generator(seed, Domain.POLICY)
        self._members: list[Member] = []
        self._next_uid = 0
        self.prune_count = 0

    @property
    def members(self) -> tuple[Member, ...]:
        """All members; the primary is the first."""
        return tuple(self._members)

    @property
    def agents(self) -> tuple[BaseAgent, ...]:
        """The members' agents, in the same order."""
        return tuple(member.agent for member in self._members)

    @property
    def weights(self) -> list[float]:
        """The members' weights with sum 1, equal ones if all are 0."""
        return normalised([member.weight for member in self._members])

    @property
    def max_ensemble_size(self) -> int | None:
        """Members at most; None without a limit."""
        return self._max_size

    @property
    def ensemble_size(self) -> int:
        """Number of members."""
        return len(self._members)

    def add_agent(self, agent: BaseAgent, weight: float = 1.0) -> None:
        """Add a member; in a full ensemble the weakest one but the primary makes room for it.

        Raises:
            ConfigError: It is a member already, the weight is negative, the ensemble holds the primary only and is
                full, or the agent does not fit the others: all must be on-policy or all off-policy, and none may have a
                memory or bring callbacks of its own.
        """
        if not 0 <= weight < math.inf:
            raise ConfigError(f"weight is {weight}; it must be a finite number of at least 0")
        self._require_fitting(agent)
        full = self._max_size is not None and self.ensemble_size >= self._max_size
        if full and not self.prune(1):
            raise ConfigError(
                f"max_ensemble_size is {self._max_size}, and the primary is never removed; raise it to at least 2"
            )

        self._members.append(Member(self._next_uid, agent, weight, deque(maxlen=self._window)))
        self._next_uid += 1

    def _require_fitting(self, agent: BaseAgent) -> None:
        name = type(agent).__name__
        if any(member.agent is agent for member in self._members):
            raise ConfigError(f"this {name} is a member already")
        for member in (agent, *self.agents) if self._members else ():
            require_no_memory(member)
        if self._members and self._members[0].agent.is_on_policy != agent.is_on_policy:
            kinds = ["off-policy", "on-policy"]
            raise ConfigError(
                f"{name} is {kinds[agent.is_on_policy]} and the other members are {kinds[not agent.is_on_policy]}; "
                "they learn from different data, so an ensemble holds one kind"
            )

    def prune(self, bottom_k: int = 1) -> tuple[int, ...]:
        """Remove the ``bottom_k`` members with the smallest weights and tear them down; never the primary.

        Returns:
            Indices (before the removal) of the removed; empty if there are not more than ``bottom_k`` members.
        """
        if bottom_k < 1 or self.ensemble_size <= bottom_k:
            return ()
        order = sorted(range(1, self.ensemble_size), key=lambda i: (self._members[i].weight, -i))
        removed = tuple(sorted(order[:bottom_k]))
        gone = [self._members[i] for i in removed]
        self._members = [m for i, m in enumerate(self._members) if i not in removed]
        self.prune_count += len(removed)
        for member in gone:
            member.agent.teardown()
        return removed

    def boost(self, agent: BaseAgent, factor: float = 2.0) -> None:
        """Multiply a member's weight by ``factor``.

        Raises:
            ConfigError: It is no member, or the factor is negative.
        """
        if not 0 <= factor < math.inf:
            raise ConfigError(f"factor is {factor}; it must be a finite number of at least 0")
        for member in self._members:
            if member.agent is agent:
                member.weight *= factor
                return
        raise ConfigError(f"this {type(agent).__name__} is no member; add it with add_agent")

    # ---------------------------------------------------------------- scores and weights

    def record_agent_score(self, index: int, score: float) -> None:
        """Remember a score of one member; one that is not finite is no evidence and is left out.

        Raises:
            IndexError: There is no such member.
        """
        member = self._members[index]
        if math.isfinite(score):
            member.scores.append(float(score))

    def update_weights(self, scores: Mapping[int, float]) -> None:
        """Weights from scores by member index: their softmax in units of their spread.

        Raises:
            IndexError: There is no such member.
        """
        self._set_weights(scores, None)

    def auto_update_weights(self) -> None:
        """Weights from the means of the remembered scores, in units of the spread of all of them."""
        means = {i: m.mean_score for i, m in enumerate(self._members)}
        known = {i: score for i, score in means.items() if score is not None}
        if known:
            self._set_weights(known, pooled_spread([list(m.scores) for m in self._members]))

    def _set_weights(self, scores: Mapping[int, float], spread: float | None) -> None:
        for index in scores:
            if not 0 <= index < self.ensemble_size:
                raise IndexError(f"there is no member {index}; the ensemble has {self.ensemble_size}")
        for member, weight in zip(
            self._members, softmax_weights(scores, self.ensemble_size, spread), strict=True
        ):
            member.weight = weight

    # ---------------------------------------------------------------- acting

    def ensemble_action(self, observation: Any, *, deterministic: bool = False) -> Any:
        """A valid action of the environment, see :mod:`~optix_core.evolution.combining`.

        Raises:
            RuntimeError: There are no members.
        """
        if not self._members:
            raise RuntimeError("the ensemble has no members; add one with add_agent")
        return combined(self.agents, self.weights, observation, self._rng, deterministic=deterministic)

    def acting_state(self) -> State:
        """What acting changes here: the random stream."""
        return generator_state(self._rng)

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        restore_generator(self._rng, state)

    # ---------------------------------------------------------------- state

    def roster_state(self) -> State:
        """Who the members are, their weights and scores, without the agents themselves."""
        return {
            "members": [{"uid": m.uid, "weight": m.weight, "scores": list(m.scores)} for m in self._members],
            "next_uid": self._next_uid,
            "rng": generator_state(self._rng),
        }

    def load_roster(
        self, state: Mapping[str, Any], *, agent_factory: AgentFactory | None = None, teardown: bool = True
    ) -> None:
        """Continue from :meth:`roster_state`: exactly those members, in that order.

        Members that the state does not know are removed; those that are missing here are built.

        Args:
            state: What was stored.
            agent_factory: Builds missing members.
            teardown: Tear down members that are removed; otherwise the caller does.

        Raises:
            IncompatibleCheckpoint: Members are missing and cannot be built; nothing is changed then.
        """
        uids = [int(entry["uid"]) for entry in state["members"]]
        present = {member.uid: member for member in self._members}
        missing = [uid for uid in uids if uid not in present]
        if missing and agent_factory is None:
            raise IncompatibleCheckpoint(
                f"the ensemble was stored with {len(uids)} members, and {len(missing)} of them are not here. "
                "Add agents before loading, or pass an agent_factory that builds them."
            )
        if uids and self._members and uids[0] != self._members[0].uid:
            raise IncompatibleCheckpoint("the ensemble was stored with another primary")
        built = {uid: agent_factory() for uid in missing} if agent_factory is not None else {}
        members = [present.get(uid) or Member(uid, built[uid], 0.0) for uid in uids]
        gone = [member for member in self._members if member not in members]
        self.reinstate(members, state)
        for member in gone if teardown else ():
            member.agent.teardown()

    def reinstate(self, members: Sequence[Member], state: Mapping[str, Any]) -> None:
        """Take these members, with weights, scores and everything else from ``state``, which is theirs."""
        for member, entry in zip(members, state["members"], strict=True):
            member.weight = float(entry["weight"])
            member.scores = deque((float(s) for s in entry["scores"]), maxlen=self._window)
        self._members = list(members)
        self._next_uid = max(self._next_uid, int(state["next_uid"]))
        restore_generator(self._rng, state["rng"])


def require_no_memory(agent: BaseAgent) -> None:
    """Refuse agents that cannot share an ensemble.

    Raises:
        ConfigError: The agent acts with a memory, or brings callbacks of its own.
    """
    name = type(agent).__name__
    if isinstance(agent, RecurrentActing):
        raise ConfigError(
            f"{name} acts with a memory; ensembles of recurrent agents are not supported. Use agents without one."
        )
    if isinstance(agent, CompanionCallbacks):
        raise ConfigError(
            f"{name} brings callbacks that expect to steer the only agent of a run; it cannot be a member"
        )
