"""One simulated run: a synthetic curve, the noise around it, and the real ``decide``.

What is simulated is only the agent: its true score is the mean curve at its *training time*, which advances by one
with every evaluation,
returns to the time of the best evaluation when ``decide`` rolls back, and jumps ahead when a probe's gain is adopted.

The probe's model: the probe branch trains ``PROBE_WINDOWS`` windows from the best policy and explores so much
harder that it stands where plain
training would stand ``KICK`` times as many evaluations later; both branches are then compared on ``PAIRS`` paired
episodes, whose differences
have the noise's standard deviation times sqrt(2 (1 - 0.5)) times sqrt(EPISODES_PER_EVALUATION).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from curves import LENGTH, ar1_noise, make_curve

from optix_core.loop.answers import decide_probe
from optix_core.loop.records import Action, LoopConfig, LoopSnapshot, ProbeReport, WindowReport
from optix_core.loop.transition import decide

PROBE_WINDOWS = 4
KICK = 5
PAIRS = 50
EPISODES_PER_EVALUATION = 10


@dataclass(frozen=True)
class Job:
    """What to simulate; ``mode`` is stop (until the loop stops), watch (never stops) or collapse (until after it)."""

    family: str
    noise: float
    phi: float
    tails: str
    seed: int
    mode: str = "stop"
    probe: bool = False
    kick: int = KICK
    length: int = LENGTH


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        stop: Evaluation at which the run stopped (the job's length: by its budget).
        value: True score of the last policy.
        window: The window that decided.
        first_window: Evaluations after which the evidence could for the first time have shown convergence.
    """

    job: Job
    stop: int
    by_itself: bool
    value: float
    asymptote: float
    t95: int
    t99: int
    window: float
    first_window: float
    rollbacks: int
    detected_after: int | None
    probes: int
    probe_gains: int
    cooling: int


def simulate(job: Job, config: LoopConfig | None = None, scale: float = 1.0, shift: float = 0.0) -> Outcome:
    """Run one job; scores are multiplied by ``scale`` and then shifted."""
    base = config or LoopConfig(probe=job.probe, keep_watching=job.mode == "watch")
    cell = (int(job.noise * 100), int(job.phi * 10), len(job.tails))
    rng = np.random.default_rng([zlib.crc32(job.family.encode()), *cell, job.seed])
    curve = make_curve(job.family, rng, job.length)
    noise = ar1_noise(rng, job.length, job.noise, job.phi, job.tails)
    snapshot, mean = LoopSnapshot(), curve.mean
    time = best_time = rollbacks = probes = gains = cooling = 0
    first_window, window, stopped, by_itself, detected = 0.0, 0.0, job.length, False, None
    for i in range(job.length):
        true = mean[min(time, job.length - 1)]
        report = WindowReport(
            window=i, windows=i + 1, score=float(true + noise[i]) * scale + shift, can_roll_back=True
        )
        decision = decide(snapshot, report, base)
        snapshot = decision.snapshot
        cooling += any(rule == "plateau" for _, _, rule in decision.transitions)
        if not first_window and decision.numbers.get("resolves"):
            first_window = i + 1.0
        if Action.SAVE_BEST in decision.actions:
            best_time = time
        if Action.ROLL_BACK in decision.actions:
            if curve.collapse is not None and time >= curve.collapse:
                detected = detected or time - curve.collapse + 1
                if job.mode == "collapse":
                    break
                mean = curve.recovered  # the restored policy does not fall again
            rollbacks += 1
            time = best_time
        if Action.PROBE in decision.actions:
            probes += 1
            decision = _probe(job, snapshot, base, mean, best_time, rng, scale)
            snapshot = decision.snapshot
            if "probe_gain" in decision.events:
                gains += 1
                time = best_time + PROBE_WINDOWS * job.kick
        if decision.stop is not None and job.mode != "collapse":
            stopped, by_itself, window = i, True, float(decision.numbers["window"] or 0.0)
            break
        if job.mode == "collapse" and curve.collapse is not None and time > curve.collapse + 10:
            break
        time += 1
    return Outcome(
        job=job,
        stop=stopped,
        by_itself=by_itself,
        value=float(mean[min(time, job.length - 1)]),
        asymptote=curve.asymptote,
        t95=curve.t95,
        t99=curve.t99,
        window=window,
        first_window=first_window,
        rollbacks=rollbacks,
        detected_after=detected,
        probes=probes,
        probe_gains=gains,
        cooling=cooling,
    )


def _probe(job, snapshot, config, mean, best_time, rng, scale):
    ahead = mean[min(best_time + PROBE_WINDOWS * job.kick, job.length - 1)]
    plain = mean[min(best_time + PROBE_WINDOWS, job.length - 1)]
    error = job.noise * np.sqrt(EPISODES_PER_EVALUATION / PAIRS)
    gain = (ahead - plain + error * rng.standard_normal()) * scale
    return decide_probe(
        snapshot, ProbeReport(gain=gain, gain_lower=gain - 1.68 * error * scale, n=PAIRS), config
    )
