"""How trajectories are collected: every option, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from optix_core.errors import ConfigError

BACKENDS = ("local", "inline", "ray")
SYNCS = ("async", "lockstep")
PLACEMENTS = ("spread", "reserve")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSettings:
    """How trajectories are collected.

    Attributes:
        n_actors: A, processes.
        envs_per_actor: N, environments that each steps together.
        trajectory_len: T, steps of each environment in one trajectory.
        slots_per_actor: Trajectories that an actor may have under way or waiting; more hide uneven speeds and make data
            older.
        backend: ``"local"``: processes on this machine; ``"ray"``: on the machines of a Ray cluster; ``"inline"``:
            here, for debugging.
        address: Of the Ray cluster, ``"auto"`` or ``"HOST:PORT"``. None: the one that this process is connected to, or
            that of the variable ``RAY_ADDRESS``, or one that is started here and ended afterwards.
        placement: Of actors on the cluster. ``"spread"``: over its machines, wherever there is room; ``"reserve"``: a
            placement group that takes the room of all actors before the first one starts, spread too.
        actor_resources: What each actor takes of the cluster's resources, such as ``{"CPU": 1, "simulator": 1}``;
            None: one CPU.
        sync: ``"async"``: whatever is ready; ``"lockstep"``: one trajectory of every actor with the version it is told,
            so that two runs give equal weights.
        lag: In lockstep, how many versions behind the weights act: 0 waits for the learner, 1 collects while it learns.
        max_policy_lag: Older trajectories are discarded and counted; None: none are.
        max_restarts: Replacements of one actor within ``restart_window_s``.
        restart_window_s: Seconds.
        min_actors: With how many to go on; None: all.
        actor_timeout_s: An actor that makes no step for so long is replaced; None: never.
        on_env_error: ``"raise"``, or ``"restart"``: rebuild environments, replace actors, within limits.
        on_nonfinite: ``"raise"``, or ``"truncate"``: drop such steps and cut their episodes.
        strict: Raise if an observation lies outside its space.
        verify_weights: Compare a checksum of weights on every processor, not only where stores may be reordered.
    """

    n_actors: int = 4
    envs_per_actor: int = 8
    trajectory_len: int = 64
    slots_per_actor: int = 2
    backend: Literal["local", "inline", "ray"] = "local"
    sync: Literal["async", "lockstep"] = "async"
    lag: Literal[0, 1] = 0
    max_policy_lag: int | None = None
    max_restarts: int = 3
    restart_window_s: float = 300.0
    min_actors: int | None = None
    actor_timeout_s: float | None = 300.0
    on_env_error: Literal["raise", "restart"] = "raise"
    on_nonfinite: Literal["raise", "truncate"] = "raise"
    strict: bool = False
    verify_weights: bool = False
    address: str | None = None
    placement: Literal["spread", "reserve"] = "spread"
    actor_resources: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name in ("n_actors", "envs_per_actor", "trajectory_len", "slots_per_actor"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least 1")
        for name, known in (
            ("backend", BACKENDS),
            ("sync", SYNCS),
            ("lag", (0, 1)),
            ("placement", PLACEMENTS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(map(str, known))}"
                )
        if self.backend != "ray":
            self._refuse_ray_options()
        for name, value in (self.actor_resources or {}).items():
            if not isinstance(name, str) or not isinstance(value, int | float) or not value >= 0:
                raise ConfigError(
                    f"actor_resources has {name!r}: {value!r}; it must map names to amounts of at least 0"
                )
        if self.sync == "async" and self.lag:
            raise ConfigError("lag belongs to sync='lockstep'; otherwise data is as old as it happens to be")
        if self.sync == "lockstep" and self.lag >= self.slots_per_actor:
            raise ConfigError(
                f"lag={self.lag} needs {self.lag + 1} slots_per_actor; there is {self.slots_per_actor}"
            )
        if self.sync == "lockstep" and self.lag and self.backend == "inline":
            raise ConfigError(
                "lag=1 needs backend='local': inline, nothing is collected while the learner learns"
            )
        if self.max_policy_lag is not None and self.max_policy_lag < (
            self.lag if self.sync == "lockstep" else 1
        ):
            raise ConfigError(
                f"max_policy_lag is {self.max_policy_lag}: trajectories are always older than that, so "
                "nothing would ever "
                "be learned; allow at least 1, or use sync='lockstep'"
            )
        if self.actor_timeout_s is not None and self.actor_timeout_s <= 0:
            raise ConfigError(
                f"actor_timeout_s is {self.actor_timeout_s}; it must be positive, or None for no limit"
            )

    def _refuse_ray_options(self) -> None:
        given = {
            "address": self.address is not None,
            "placement": self.placement != "spread",
            "actor_resources": self.actor_resources is not None,
        }
        for name in (name for name, is_set in given.items() if is_set):
            raise ConfigError(f"{name} belongs to backend='ray'; backend is {self.backend!r}")

    @property
    def slot_steps(self) -> int:
        """Environment steps of one trajectory."""
        return self.trajectory_len * self.envs_per_actor


@dataclass(slots=True)
class Lag:
    """How many versions lay between the weights that acted and those that learned."""

    total: int = 0
    count: int = 0
    most: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    def add(self, lag: int) -> None:
        """One trajectory."""
        self.total += lag
        self.count += 1
        self.most = max(self.most, lag)
        self.histogram[lag] = self.histogram.get(lag, 0) + 1

    @property
    def mean(self) -> float:
        """Over all trajectories; 0 before the first."""
        return self.total / self.count if self.count else 0.0
