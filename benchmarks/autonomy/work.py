"""One job of benchmarks/autonomy; the argument and the last line of output are JSON. Run by run.py."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from autonomy.controls import CONTROLS
from autonomy.faults import Curve, Fault, events_below
from autonomy.protocols import EPISODES
from common import machine, versions

from optix_core import EvaluationPipeline, Optimizer, PolicyManager, make_agent
from optix_core.plugins.envs import make_env
from optix_core.seeding import Domain, derive_seed

NEVER = 10**9
"""Windows before which nothing is declared converged."""


def run(job):
    started = time.process_time()
    kinds = {
        "stopping": stopping,
        "tuning": tuning,
        "rollback": rollback,
        "quiet": quiet,
        "spawning": spawning,
    }
    found = kinds[job["protocol"]](job, job["settings"])
    return {
        **found,
        "cpu_seconds": time.process_time() - started,
        "versions": versions(),
        "machine": machine(),
    }


def stopping(job, settings):
    """The defaults as they are, or the same run with convergence switched off."""
    options = {} if job["arm"] == "optix" else {"min_episodes_before_dormant": NEVER}
    return trained(job, settings, {}, **options)


def tuning(job, settings):
    """A start, and one way to deal with it; every arm uses up its steps."""
    name = settings["tuner"]
    if name == "fixed":
        options = {"optimizer": "fixed"}
    elif name == "default":
        options = {}
    else:
        options = {"optimizer": CONTROLS[name]()}
    return trained(job, settings, settings["agent"], min_episodes_before_dormant=NEVER, **options)


def rollback(job, settings):
    """Train well, break it, and see whether it is noticed and undone."""
    fault = Fault(job["task"], reached=settings["reached"], seed=job["seed"])
    # an evaluation after every window: what is measured is the decision, not how seldom it is asked for
    options = {"validation_share": math.inf, "min_episodes_before_dormant": NEVER, "optimizer": "fixed"}
    return trained(job, settings, {}, watched=fault, **options)


def quiet(job, settings):
    """Policies that do not change, evaluated with all the noise that episodes have: every rollback is a false one."""
    count = 0
    for i in range(settings["runs"]):
        seed = job["seed"] * settings["runs"] + i
        agent = make_agent("PPO", make_env("CartPole-v1"), seed=seed, device="cpu", learning_rate=1e-12)
        with tempfile.TemporaryDirectory(prefix="optix-bench-") as folder:
            Optimizer(
                agent,
                "CartPole-v1",
                window_size=64,
                seed=seed,
                checkpoint_dir=folder,
                max_episodes=settings["windows"],
                min_episodes_before_dormant=NEVER,
                optimizer="fixed",
                rollback_on_degradation=True,
                validation_share=math.inf,
                confirm_episodes=0,
            ).run()
            count += sum(event["kind"] == "rolled_back" for event in events_below(folder))
    return {"runs": settings["runs"], "false_rollbacks": count}


def spawning(job, settings):
    """What to do with the steps that are left at convergence."""
    if job["arm"] == "stop":
        return trained(job, settings, {})
    if job["arm"] == "spawn":
        return trained(job, settings, {}, evolves=True)
    best, left, steps, attempts = None, settings["steps"], 0, 0
    while left > 0:
        again = {**job, "seed": derive_seed(job["seed"], Domain.TRIAL, attempts) if attempts else job["seed"]}
        found = trained(again, {**settings, "steps": left}, {})
        attempts, steps, left = attempts + 1, steps + found["steps"], left - found["steps"]
        # chosen by what the run itself confirmed, as somebody would who restarts by hand
        if best is None or found["confirmed"] > best["confirmed"]:
            best = found
    return {**best, "steps": steps, "attempts": attempts}


def trained(job, settings, agent_options, *, watched=None, evolves=False, **options):
    """Train by the loop; what came of it, with the returned policy played on fresh episodes."""
    env = settings["env"]
    own = make_env(env)
    agent = make_agent(settings["algorithm"], own, seed=job["seed"], device="cpu", **agent_options)
    own.close()
    variants = [PolicyManager(seed=job["seed"], max_spawns=100).as_callback(agent)] if evolves else []
    curve = Curve() if watched is None else watched
    with tempfile.TemporaryDirectory(prefix="optix-bench-") as folder:
        optimizer = Optimizer(
            agent,
            env,
            seed=job["seed"],
            checkpoint_dir=folder,
            max_steps=settings["steps"],
            callbacks=[curve, *variants],
            **options,
        )
        curve.optimizer = optimizer
        result = optimizer.run()
        events = events_below(folder)
    trials = [event for event in events if event["kind"] == "trial"]
    found = {
        "returns": fresh_returns(env, agent, job["seed"]),
        "steps": result.steps,
        "validation_steps": result.validation_steps,
        "stop_reason": result.stop_reason.name.lower(),
        "confirmed": result.confirmation.mean,
        "spawns": sum(event["kind"] == "spawned" for event in events),
        "replaced": sum(event.get("replaced") is True for event in events if event["kind"] == "variant"),
        "curve": [(steps, score) for _, steps, score in curve.points],
        "rollbacks": sum(event["kind"] == "rolled_back" for event in events),
        "trials": len(trials),
        "commits": sum(event["committed"] for event in trials),
    }
    return found if watched is None else {**found, **watched.report(events)}


def fresh_returns(env, agent, seed):
    """Returns of greedy episodes that nothing was decided by."""
    pipeline = EvaluationPipeline(
        lambda: make_env(env), agent, episodes=EPISODES, seed=derive_seed(seed, Domain.VALIDATION, 99)
    )
    pipeline.setup()
    returns = [record.episode_return for record in pipeline.evaluate(0).episodes]
    pipeline.teardown()
    assert np.isfinite(returns).all()
    return returns


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
