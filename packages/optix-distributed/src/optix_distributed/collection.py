"""Trajectories for a learner, whoever it is: weights out, windows in, and an account of both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.remote import ActingSpec, NumpyActing
from optix_core.agents.ppo_update import OFF_POLICY
from optix_core.errors import NumericalDivergence
from optix_core.types import EpisodeData
from optix_distributed.backend import NEWEST, CollectionBackend, Filled
from optix_distributed.boot import Boot, wrapped
from optix_distributed.settings import CollectionSettings, Lag
from optix_distributed.supervision import Limits
from optix_distributed.trajectories import merged, plan_memory

logger = logging.getLogger("optix.distributed")

DISCARDED_SHARE = 0.5
"""More than this share of trajectories with numbers that are not finite ends the run."""


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
        self.backend = make_backend(boot, s)
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


def make_backend(boot: Boot, s: CollectionSettings) -> CollectionBackend:
    """Whoever collects, as the settings say; only that one's module is imported.

    Raises:
        ConfigError: It cannot collect here, or not so.
        MissingDependencyError: It needs a package that is not installed.
    """
    if s.backend == "inline":
        from optix_distributed.inline import InlineBackend

        return InlineBackend(boot)
    limits = Limits.of(s)
    if s.backend == "ray":
        from optix_distributed.on_ray import ray_backend

        return ray_backend(
            boot, limits, address=s.address, placement=s.placement, resources=s.actor_resources
        )
    from optix_distributed.local.backend import LocalBackend

    return LocalBackend(boot, limits)
