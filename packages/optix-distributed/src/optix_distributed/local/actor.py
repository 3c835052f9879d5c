"""What runs in an actor's process: fetch weights, fill a slot, say so, again."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback

import numpy as np
from numpy.typing import NDArray

from optix_distributed.backend import NEWEST
from optix_distributed.boot import Boot, unpacked
from optix_distributed.local.messages import FAILED, FILLED, GRANT, READY, Report, send
from optix_distributed.rollout import Rollout, Stopped, write_slot
from optix_distributed.shared.plan import (
    CPU,
    ENV_ERRORS,
    EPISODES,
    HEARTBEAT,
    NONFINITE,
    RETRIES,
    STEPS,
    VERSION,
    SharedState,
)
from optix_distributed.shared.region import SharedRegion

SLOW_FETCH_S = 30.0
"""How long to wait for a version that was asked for by number."""


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
