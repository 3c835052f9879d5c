"""What runs in an actor's process: fetch weights, fill a slot, say so, again.

The loop is core's own way of collecting windows, with a policy in numpy; no framework is imported here.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
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
from optix_distributed.local.boot import Boot, unpacked
from optix_distributed.local.messages import FAILED, FILLED, GRANT, NEWEST, READY, Report, send
from optix_distributed.shared.plan import (
    CPU,
    ENV_ERRORS,
    EPISODES,
    HEARTBEAT,
    NONFINITE,
    RECORD,
    RETRIES,
    STEPS,
    VERSION,
    SharedState,
)
from optix_distributed.shared.region import SharedRegion

SLOW_FETCH_S = 30.0
"""How long to wait for a version that was asked for by number."""


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


def serve(boot: Boot, state: SharedState, actor_id: int, incarnation: int, grants: int, reports: int) -> None:
    """Fill slots as they are granted, until the learner closes the pipe or says stop."""
    stats, control = state.stats[actor_id], state.control

    def on_step(n: int) -> None:
        if control[0]:
            raise Stopped
        stats[HEARTBEAT] = time.monotonic_ns()
        stats[STEPS] += n

    slots = [state.slot(actor_id, s) for s in range(boot.plan.slots_per_actor)]
    rollout = Rollout(boot, actor_id, incarnation, on_step)
    policy, version, sequence = rollout.policy, -1, 0
    fresh = np.zeros_like(policy.weights)
    stats[HEARTBEAT] = time.monotonic_ns()
    send(reports, Report(READY))
    try:
        while True:
            grant = os.read(grants, GRANT.size)
            if not grant:
                return
            slot, wanted = GRANT.unpack(grant)
            stats[HEARTBEAT] = time.monotonic_ns()
            found = _fetch(state, fresh, wanted, version)
            if found is not None and found != version:
                policy.weights[:] = fresh
                policy.changed()
                version = found
            stats[VERSION], stats[RETRIES] = version, state.weights.retries
            window, log_probs = rollout.collect(boot.plan.steps)
            write_slot(slots[slot], window, log_probs)
            stats[EPISODES] += len(window.episodes)
            stats[ENV_ERRORS], stats[NONFINITE] = (
                rollout.faults.counts["env_errors"],
                rollout.faults.counts["nonfinite"],
            )
            stats[CPU] = time.process_time_ns()
            send(reports, Report(FILLED, slot, version, sequence, window.n_steps))
            sequence += 1
    except Stopped:
        return
    finally:
        rollout.close()


def _fetch(state: SharedState, out: NDArray[np.uint8], wanted: int, have: int) -> int | None:
    """The weights to act with; None to keep those at hand."""
    if wanted == NEWEST:
        if state.weights.latest == have and have >= 0:
            return None
        found = state.weights.fetch(out)
        if found is None and have < 0:
            raise RuntimeError("no weights were published before the first trajectory")
        return found
    if wanted == have:
        return None
    until = time.monotonic() + SLOW_FETCH_S
    while (found := state.weights.fetch(out, wanted)) is None:
        if time.monotonic() > until:
            raise RuntimeError(
                f"version {wanted} of the weights is gone; the newest is {state.weights.latest}"
            )
        time.sleep(0.001)
    return found


def die_with(parent: int) -> None:
    """Be killed when the process that started this one dies, even inside a call that never returns."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main(argv: list[str]) -> int:
    """Entry point of an actor's process; its arguments are numbers, see ``process.start``."""
    parent, actor_id, incarnation, grants, reports, memory, boot_fd = map(int, argv)
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for fd in (grants, reports, memory, boot_fd):
        os.set_inheritable(fd, False)  # an environment's own children must not hold them open
    try:
        boot = unpacked(os.pread(boot_fd, os.fstat(boot_fd).st_size, 0))
        os.close(boot_fd)
        state = SharedState(boot.plan, SharedRegion(memory, boot.plan.nbytes))
        serve(boot, state, actor_id, incarnation, grants, reports)
    except BrokenPipeError:
        return 0  # the learner is gone
    except BaseException:  # noqa: BLE001 - whatever it was, the learner has to hear of it
        try:
            send(reports, Report(FAILED, text=traceback.format_exc()))
        except BrokenPipeError:
            return 0
        return 1
    finally:
        sys.stdout.flush()
    return 0
