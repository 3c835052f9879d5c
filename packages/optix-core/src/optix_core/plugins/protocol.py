"""What passes between core and a plugin when an agent is asked for, built and examined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContext:
    """All that an agent's factory is told.

    Attributes:
        observation_space: The space of one observation, of one environment.
        action_space: The space of one action, of one environment.
        seed: Root seed of the agent's random streams; None: draw one from the operating system.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and so on.
        hyperparams: Every declared hyperparameter, validated and merged over the defaults; the factory's own copy.
        env: The environment if the caller passed one, else None. To look at, not to step.
    """

    observation_space: Any
    action_space: Any
    seed: int | None = None
    device: str = "auto"
    hyperparams: dict[str, Any] = field(default_factory=dict[str, Any])
    env: Any = None


class AgentFactory(Protocol):
    """What an agent's factory string leads to."""

    def __call__(self, ctx: AgentContext, /, **options: Any) -> BaseAgent:
        """Build the agent.

        Args:
            ctx: Spaces, seed, device and hyperparameters.
            options: Every option that the spec declares, with its default where the caller gave none.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What the caller of ``make_agent`` asked for, after aliases are resolved.

    Attributes:
        name: The agent or algorithm asked for, without a qualifier; None if it is left to optix.
        qualifier: What stood before the colon in ``"optix-torch:PPO"``, canonical; None if nothing did.
        action_space: Kind of the action space, for example ``"box"``; other classes by their own name, lower case.
        observation_space: Kind of the observation space.
        action_space_text: The action space as text, for messages.
        observation_space_text: The observation space as text, for messages.
        env_id: The environment's id if it has one.
        framework: The framework asked for, None if any will do.
        deterministic: As asked for.
        neuroevo: As asked for.
        recurrent: As asked for.
    """

    name: str | None = None
    qualifier: str | None = None
    action_space: str
    observation_space: str
    action_space_text: str = ""
    observation_space_text: str = ""
    env_id: str | None = None
    framework: str | None = None
    deterministic: bool | None = None
    neuroevo: bool | None = None
    recurrent: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding of a plugin about itself, for ``optix plugins doctor``.

    Attributes:
        name: What was looked at, for example ``"cuda"``.
        status: ``"ok"``, ``"warning"`` or ``"error"``.
        message: What was found, and for a fault what to do.
        data: Further plain data for ``--json``.
    """

    name: str
    status: Literal["ok", "warning", "error"] = "ok"
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        if self.status not in {"ok", "warning", "error"}:
            raise ValueError(
                f"Check {self.name!r}: status is {self.status!r}; it must be ok, warning or error"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {"name": self.name, "status": self.status, "message": self.message, "data": dict(self.data)}
