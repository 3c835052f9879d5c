"""Trajectories for a learner, whoever it is: weights out, windows in, and an account of both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.remote import ActingSpec, NumpyActing
from optix_core.agents.ppo_update import OFF_POLICY
from optix_core.errors import ConfigError, NumericalDivergence
from optix_core.types import EpisodeData
from optix_distributed.inline import InlineBackend
from optix_distributed.local.backend import Filled, LocalBackend
from optix_distributed.local.boot import Boot, wrapped
from optix_distributed.local.messages import NEWEST
from optix_distributed.trajectories import merged, plan_memory

logger = logging.getLogger("optix.distributed")

BACKENDS = ("local", "inline")
SYNCS = ("async", "lockstep")
DISCARDED_SHARE = 0.5
"""More than this share of trajectories with numbers that are not finite ends the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSettings:
    """How trajectories are collected.

    Attributes:
        n_actors: A, processes.
        envs_per_actor: N, environments that each steps together.
        trajectory_len: T, steps of each environment in one trajectory.
        slots_per_actor: Trajectories that an actor may have under way or waiting; more hide uneven speeds and make data
            older.
        backend: ``"local"``: processes on this machine; ``"inline"``: here, for debugging.
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
    backend: Literal["local", "inline"] = "local"
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

    def __post_init__(self) -> None:
        for name in ("n_actors", "envs_per_actor", "trajectory_len", "slots_per_actor"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least 1")
        for name, known in (("backend", BACKENDS), ("sync", SYNCS), ("lag", (0, 1))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(map(str, known))}"
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


class Collection:
    """Actors at work for one policy.

    Args:
        acting: The policy, as views of what training changes.
        env_factories: Make one environment each; the actors' environments take turns with them.
        settings: How.
        seed: Root seed of environments and of actions.

    Attributes:
        steps_trained: Environment steps of windows that were handed out.
        discarded: Steps that were collected and not handed out, by reason.
        lag: Of what was handed out.
        version: Of the weights that were published last.

    Raises:
        ConfigError: An environment's function cannot travel, or the system has no memfd.
        OSError: Not enough memory.
    """

    def __init__(
        self,
        acting: NumpyActing,
        env_factories: Sequence[Callable[[], Any]],
        settings: CollectionSettings,
        seed: int,
    ) -> None:
        self.settings, self._acting = settings, acting
        self._spec = ActingSpec.of(acting)
        s = settings
        self.plan = plan_memory(
            env_factories[0],
            self._spec,
            n_actors=s.n_actors,
            slots_per_actor=s.slots_per_actor,
            steps=s.trajectory_len,
            envs_per_actor=s.envs_per_actor,
            verify_weights=s.verify_weights,
        )
        boot = Boot(
            plan=self.plan,
            spec=self._spec,
            envs=wrapped(env_factories),
            seed=seed,
            on_env_error=s.on_env_error,
            on_nonfinite=s.on_nonfinite,
            strict=s.strict,
        )
        self.backend: LocalBackend | InlineBackend
        if s.backend == "inline":
            self.backend = InlineBackend(boot)
        else:
            self.backend = LocalBackend(
                boot,
                max_restarts=s.max_restarts,
                restart_window_s=s.restart_window_s,
                min_actors=s.min_actors,
                actor_timeout_s=s.actor_timeout_s,
                on_env_error=s.on_env_error,
            )
        self._payload = np.zeros(self._spec.nbytes, np.uint8)
        self._last: NDArray[np.uint8] | None = None
        self.steps_trained, self.windows = 0, 0
        self.discarded: dict[str, int] = {"lag": 0, "nonfinite": 0}
        self._seen = self._bad = 0
        self.lag = Lag()
        self.skipped_publications = 0
        self._round = self._granted = 0
        self._began = time.monotonic()
        self.waited_s = 0.0
        self._started = False

    @property
    def version(self) -> int:
        """Of the weights that were published last; -1 before."""
        return self.backend.version

    def publish(self) -> bool:
        """Give the actors the present weights if they have changed; those that are not finite are kept back (False)."""
        if not self._spec.write(self._acting, self._payload):
            self.skipped_publications += 1
            return False
        if self._last is None or not np.array_equal(self._last, self._payload):
            self.backend.publish(self._payload)
            self._last = self._payload.copy()
        return True

    def collect(
        self, least: int, most: int | None = None, *, interrupted: Callable[[], bool] = lambda: False
    ) -> EpisodeData | None:
        """A window of at least ``least`` and at most ``most`` trajectories; weights must have been published.

        In lockstep it has one trajectory of every actor, in their order.

        Returns:
            None if ``interrupted`` said so first.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
            NumericalDivergence: Most trajectories hold numbers that are not finite.
        """
        self._start()
        if self.settings.sync == "lockstep":
            return self._lockstep(interrupted)
        usable: list[Filled] = []
        while len(usable) < least:
            wanted, began = least - len(usable), time.monotonic()
            self.backend.wait(lambda ready, n=wanted: len(ready) >= n, interrupted=interrupted)
            self.waited_s += time.monotonic() - began
            if interrupted():
                for filled in usable:
                    self.backend.grant(filled.actor_id, filled.slot)
                return None
            there = len(self.backend.ready)
            n = there if most is None else min(there, most - len(usable))
            for filled in self.backend.take(n):
                reason = self._unusable(filled)
                if reason is None:
                    usable.append(filled)
                else:
                    self.discarded[reason] += filled.steps
                    self.backend.grant(filled.actor_id, filled.slot)
        window = self._window(usable)
        for filled in usable:
            self.backend.grant(filled.actor_id, filled.slot)
        return window

    def close(self) -> None:
        """End the actors; safe to call twice."""
        if not self.backend.closed:
            self._final = self.stats()
            self.backend.close()

    def stats(self) -> dict[str, Any]:
        """Counters so far; also after :meth:`close`."""
        if self.backend.closed:
            return self._final
        found = self.backend.stats()
        elapsed = max(time.monotonic() - self._began, 1e-9)
        cpu = found["actor_cpu_s"]
        return {
            **found,
            "steps_trained": self.steps_trained,
            "steps_discarded": dict(self.discarded),
            "lag_mean": self.lag.mean,
            "lag_max": self.lag.most,
            "lag_histogram": dict(sorted(self.lag.histogram.items())),
            "version": self.version,
            "skipped_publications": self.skipped_publications,
            "actor_rates": [round(steps / elapsed, 1) for steps in found["actor_steps"]],
            "actor_busy": round(sum(cpu) / elapsed / max(len(cpu), 1), 4),
            "learner_busy": round(max(0.0, 1.0 - self.waited_s / elapsed), 4),
        }

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        if self.settings.sync == "async":
            self.backend.grant_all()
        elif self.settings.lag:
            self._grant_round(0)
        self.backend.start()
        self._began = time.monotonic()

    # ------------------------------------------------------------------ lockstep

    def _lockstep(self, interrupted: Callable[[], bool]) -> EpisodeData | None:
        """Trajectory j of every actor, made with the weights that were published before window ``j - lag``."""
        n = self.settings.n_actors
        began, j = time.monotonic(), self._round
        if j + self.settings.lag == self._granted:
            self._grant_round(j + self.settings.lag)
        self.backend.wait(lambda ready: sum(f.sequence == j for f in ready) == n, interrupted=interrupted)
        self.waited_s += time.monotonic() - began
        if interrupted():
            return None
        there = self.backend.take(len(self.backend.ready))
        self.backend.ready.extend(f for f in there if f.sequence != j)
        chosen = sorted((f for f in there if f.sequence == j), key=lambda f: f.actor_id)
        self._round += 1
        return self._window(chosen)

    def _grant_round(self, j: int) -> None:
        """Ask for trajectory j of every actor with exactly the present version."""
        version = NEWEST if self.settings.backend == "inline" else self.version
        for actor in range(self.settings.n_actors):
            self.backend.grant(actor, j % self.settings.slots_per_actor, version)
        self._granted = j + 1

    # ------------------------------------------------------------------ what is usable

    def _unusable(self, filled: Filled) -> str | None:
        limit = self.settings.max_policy_lag
        if limit is not None and self.version - filled.version > limit:
            return "lag"
        self._seen += 1
        view = self.backend.view(filled)
        # one sum per array finds nearly everything; a sum of finite numbers may overflow only where they are absurd
        if np.isfinite(view["rewards"].sum()) and np.isfinite(view["log_probs"].sum()):
            return None
        self._bad += 1
        if self._seen >= 10 and self._bad > DISCARDED_SHARE * self._seen:
            raise NumericalDivergence(
                f"{self._bad} of {self._seen} trajectories hold rewards or log-probabilities that are not "
                "finite; check the "
                "environment's rewards, or clip them"
            )
        return "nonfinite"

    def _window(self, chosen: list[Filled]) -> EpisodeData:
        for filled in chosen:
            self.lag.add(self.version - filled.version)
        views = [self.backend.view(filled) for filled in chosen]
        window = merged(views, self.windows, {OFF_POLICY: True})
        self.windows += 1
        self.steps_trained += window.n_steps
        return window
