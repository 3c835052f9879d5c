"""Actors that collect while one learner learns: IMPALA (Espeholt et al. 2018, arXiv:1802.01561) on one machine."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from optix_core.errors import ConfigError
from optix_core.loop.signals import StopOnSignal
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.state import State, generator_state, restore_generator
from optix_distributed.collection import Collection
from optix_distributed.learning.checkpoints import PeriodicCheckpoints
from optix_distributed.learning.parts import Falling, parts_of_agent, parts_of_modules
from optix_distributed.learning.update import VTraceSettings, VTraceUpdate
from optix_distributed.settings import CollectionSettings
from optix_torch.training.threads import Threads

Callback = Callable[[dict[str, Any]], None]
"""Called after every update with its diagnostics and all counters, and when something happens; ``event`` says which."""


class AsyncActorLearner:
    """Trains actor and critic on trajectories that other processes collect.

    Actors act with numpy on weights that are at most a few updates old and import no framework; values and
    log-probabilities are recomputed with the weights that learn, and V-trace makes up for the difference. No trajectory
    is dropped because the learner is slow: actors wait.

    For validation, tuning, rollback and the decision to stop, use ``Optimizer(agent, env, runner="async")`` instead.

    Args:
        actor: ``[B, *obs]`` to logits, or for a Box to means and log standard deviations ``[B, 2 A]``. Or an agent
            made by ``make_agent`` (PPO, Gaussian PPO, recurrent PPO), whose networks, optimizer and
            hyperparameters are used, a falling learning rate included; ``critic`` and ``optimizer`` are None then.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: Over the parameters of both.
        env_factory: Makes one environment; it travels to other processes by value.
        n_actors: Processes.
        trajectory_len: Steps of each environment in one trajectory.
        max_queue_size: Trajectories that may be under way or waiting, over all actors; 0: ``slots_per_actor`` of each.
        gamma: Discount. An agent's own if one is given.
        rho_bar: Bound of importance weights; None: no bound.
        c_bar: Bound of the weights of traces; None: no bound.
        entropy_coef: Weight of the entropy. An agent's own if one is given.
        vf_coef: Weight of half the squared error of values. An agent's own if one is given.
        max_grad_norm: The gradient is scaled down to this norm. An agent's own if one is given.
        seed: Root seed of environments and actions. Networks are initialised by whoever made them.
        lam: Mixing of one-step and full corrections; 1 is the paper's.
        pg_rho_bar: Bound of the weights of the policy gradient; None: no bound.
        envs_per_actor: Environments that each actor steps together.
        slots_per_actor: See :class:`~optix_distributed.collection.CollectionSettings`.
        min_batch_slots: Trajectories that an update needs at least.
        max_batch_slots: And takes at most; None: as many as are ready. In lockstep it is one of every actor.
        device: Of the learner, for ``actor`` and ``critic``; an agent has its own.
        checkpoint_dir: Where the learner's state is kept; None: nowhere.
        checkpoint_every_s: Seconds between checkpoints.
        strict_checkpoints: Raise if one cannot be written; otherwise training goes on and it is tried again.
        resume: Continue from the newest checkpoint in ``checkpoint_dir``, if there is one.
        callbacks: See :data:`Callback`.
        handle_signals: The first Ctrl-C or SIGTERM ends :meth:`run` with everything saved, a second one at once.
        **options: Everything else of :class:`~optix_distributed.collection.CollectionSettings`.

    Raises:
        ConfigError: Parts do not fit each other, or an option cannot be honoured.
        OSError: Not enough shared memory.
    """

    def __init__(
        self,
        actor: Any,
        critic: nn.Module | None,
        optimizer: torch.optim.Optimizer | None,
        env_factory: Callable[[], Any],
        n_actors: int = 4,
        trajectory_len: int = 64,
        max_queue_size: int = 0,
        gamma: float | None = None,
        rho_bar: float | None = 1.0,
        c_bar: float | None = 1.0,
        entropy_coef: float | None = None,
        vf_coef: float | None = None,
        max_grad_norm: float | None = None,
        seed: int | None = 0,
        *,
        lam: float = 1.0,
        pg_rho_bar: float | None = 1.0,
        envs_per_actor: int = 8,
        slots_per_actor: int = 2,
        min_batch_slots: int = 1,
        max_batch_slots: int | None = None,
        device: str | torch.device = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_every_s: float = 60.0,
        strict_checkpoints: bool = False,
        resume: bool = False,
        callbacks: Iterable[Callback] = (),
        handle_signals: bool = True,
        **options: Any,
    ) -> None:
        if max_queue_size:
            slots_per_actor = max(1, max_queue_size // n_actors)
        try:
            self.settings = CollectionSettings(
                n_actors=n_actors, envs_per_actor=envs_per_actor, trajectory_len=trajectory_len,
                slots_per_actor=slots_per_actor, **options,
            )  # fmt: skip
        except TypeError as error:
            raise ConfigError(f"AsyncActorLearner: {error}") from None
        if not 1 <= min_batch_slots <= n_actors * slots_per_actor:
            raise ConfigError(
                f"min_batch_slots is {min_batch_slots}, but {n_actors} actors with {slots_per_actor} slots have "
                f"{n_actors * slots_per_actor} trajectories at most: the learner would wait for ever"
            )
        if max_batch_slots is not None and max_batch_slots < min_batch_slots:
            raise ConfigError(
                f"max_batch_slots is {max_batch_slots}, below min_batch_slots, {min_batch_slots}"
            )
        self._batch = min_batch_slots, max_batch_slots
        self.seed = fresh_root_seed() if seed is None else int(seed)
        own: Mapping[str, Any] = {}
        self._falling: Falling | None = None
        if critic is None or optimizer is None:
            if critic is not None or optimizer is not None:
                raise ConfigError(
                    "give actor, critic and optimizer, or an agent in place of the actor and None for both"
                )
            networks, normalizers, acting, self._falling = parts_of_agent(actor)
            own = self._falling.hyperparams
        else:
            networks, normalizers, acting = parts_of_modules(actor, critic, optimizer, env_factory, device)
        self._networks = networks

        def chosen(given: float | None, name: str, default: float) -> float:
            return float(own.get(name, default)) if given is None else float(given)

        self._normalizers = normalizers
        self._rng = generator(self.seed, Domain.MINIBATCH)
        settings = VTraceSettings(
            gamma=chosen(gamma, "gamma", 0.99),
            lam=lam,
            rho_bar=rho_bar,
            c_bar=c_bar,
            pg_rho_bar=pg_rho_bar,
            entropy_coef=chosen(entropy_coef, "entropy_coef", 0.01),
            vf_coef=chosen(vf_coef, "vf_coef", 0.5),
            max_grad_norm=chosen(max_grad_norm, "max_grad_norm", 0.5),
        )
        self.update = VTraceUpdate(networks, settings, normalizers, self._rng)
        self._threads = Threads("auto", networks.flat.vector.numel(), networks.device)
        self._callbacks, self._handle_signals = list(callbacks), handle_signals
        self._checkpoints = None
        if checkpoint_dir is not None:
            self._checkpoints = PeriodicCheckpoints(
                checkpoint_dir, checkpoint_every_s, strict=strict_checkpoints, tell=self._call
            )
        self._steps_before = self._updates_before = self._lives = 0
        if resume:
            self._resume()
        self.collection = Collection(acting, [env_factory], self.settings, self._collection_seed())

    @property
    def total_steps(self) -> int:
        """Environment steps learned from, also before a resume."""
        return self._steps_before + self.collection.steps_trained

    @property
    def total_updates(self) -> int:
        """Gradient steps that were made, also before a resume."""
        return self._updates_before + self.update.updates

    def run(self, max_steps: int, max_seconds: float | None = None) -> dict[str, Any]:
        """Train until ``max_steps`` environment steps were learned from, in all; may be called again with more.

        Args:
            max_steps: Steps of trajectories that updates have consumed; those collected, lost and discarded are counted
                apart.
            max_seconds: End after so many seconds, too.

        Returns:
            ``total_steps``, ``total_updates``, ``steps_per_second`` (learned from), ``elapsed``,
            ``collected_per_second``, ``discarded``, ``lag_mean``, ``lag_max``, ``restarts``, ``interrupted``,
            ``learner_busy``, ``actor_busy``, ``mean_return`` of the last 100 episodes, and the last update's
            diagnostics.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
            NumericalDivergence: Updates stayed not finite; the weights are the last good ones.
            CheckpointNotSaved: A checkpoint could not be written, with ``strict_checkpoints``.
        """
        if self.collection.backend.closed:
            raise ConfigError(
                "this learner is closed; make another one, with resume=True to continue from its checkpoint"
            )
        began, first, collected = (
            time.monotonic(),
            self.total_steps,
            self.collection.stats()["steps_collected"],
        )
        end = math.inf if max_seconds is None else began + max_seconds
        returns: list[float] = []
        report: dict[str, float] = {}
        signals = StopOnSignal(enabled=self._handle_signals)

        def stopping() -> bool:
            return signals.received is not None or time.monotonic() >= end

        held = contextlib.nullcontext() if self._checkpoints is None else self._checkpoints.held()
        with held, signals, self._threads:
            try:
                while self.total_steps < max_steps and not stopping():
                    if not self.collection.publish() and self.collection.version < 0:
                        raise ConfigError(
                            "the actor's weights are not finite, so there is no policy to collect with"
                        )
                    window = self.collection.collect(*self._batch, interrupted=stopping)
                    if window is None:
                        break
                    returns += [episode.episode_return for episode in window.episodes]
                    del returns[:-100]
                    with self._fallen(window.n_steps):
                        report = self.update(window)
                    self._tell(report, returns)
                    if self._checkpoints is not None:
                        self._checkpoints.save_if_due(self._state, self.total_steps)
            except BaseException:
                self.close()
                raise
            if self._checkpoints is not None:
                reason = "signal" if signals.received is not None else "final"
                self._checkpoints.save(self._state(), self.total_steps, reason)
        elapsed = time.monotonic() - began
        now = self.stats()
        if signals.received is not None:
            self.close()
        return {
            **now,
            "steps_per_second": (self.total_steps - first) / max(elapsed, 1e-9),
            "collected_per_second": (now["steps_collected"] - collected) / max(elapsed, 1e-9),
            "elapsed": elapsed,
            "interrupted": signals.received is not None,
            "signal": signals.received,
            "mean_return": math.fsum(returns) / len(returns) if returns else math.nan,
            "diagnostics": report,
        }

    def stats(self) -> dict[str, Any]:
        """Counters so far; see :meth:`run` and :meth:`~optix_distributed.collection.Collection.stats`."""
        found = self.collection.stats()
        return {
            **found,
            "total_steps": self.total_steps,
            "total_updates": self.total_updates,
            "discarded": sum(found["steps_discarded"].values()),
            "nonfinite_updates": self.update.nonfinite,
        }

    def close(self) -> None:
        """End the actors and give everything back; safe to call twice. Also done when this object is forgotten."""
        self.collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ inside

    def _tell(self, report: Mapping[str, float], returns: list[float]) -> None:
        if self._callbacks:
            now = self.stats()
            now["mean_return"] = math.fsum(returns) / len(returns) if returns else math.nan
            self._call({"event": "update", **now, **report})

    def _call(self, event: dict[str, Any]) -> None:
        for callback in self._callbacks:
            callback(event)

    def _fallen(self, n_steps: int) -> contextlib.AbstractContextManager[Any]:
        """The learning rate of now, if the agent has one that falls."""
        if self._falling is None:
            return contextlib.nullcontext()
        return self._falling.applied(n_steps, self._networks.training)

    def _collection_seed(self) -> int:
        return (
            self.seed
            if self._lives == 0
            else int(generator(self.seed, Domain.ENV, self._lives).integers(2**31))
        )

    def _state(self) -> State:
        return {
            "steps": self.total_steps,
            "updates": self.total_updates,
            "lives": self._lives + 1,
            "rng": generator_state(self._rng),
            "training": self._networks.training.state_dict(),
            "decay": None if self._falling is None else self._falling.decay.state_dict(),
            **{name: None if part is None else part.state_dict() for name, part in self._statistics()},
        }

    def _statistics(self) -> list[tuple[str, Any]]:
        return [
            ("observation_normalizer", self._normalizers.observation),
            ("reward_normalizer", self._normalizers.reward_part()),
        ]

    def _resume(self) -> None:
        if self._checkpoints is None:
            raise ConfigError("resume=True needs checkpoint_dir")
        state = self._checkpoints.newest()
        if state is None:
            return
        self._networks.training.load_state_dict(state["training"], owner="this learner")
        for name, part in self._statistics():
            if (part is None) != (state[name] is None):
                raise ConfigError(
                    f"the checkpoint {'has a' if part is None else 'has no'} {name}; build it with equal options"
                )
            if part is not None:
                part.load_state_dict(state[name])
        if self._falling is not None and state["decay"] is not None:
            self._falling.decay.load_state_dict(state["decay"])
        restore_generator(self._rng, state["rng"])
        self._steps_before, self._updates_before = int(state["steps"]), int(state["updates"])
        self._lives = int(state["lives"])


__all__ = ["AsyncActorLearner", "Callback"]
