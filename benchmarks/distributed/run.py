"""What do actors in processes of their own cost, and what do they save? ``dev.py bench distributed``.

Costs are processor time of all processes, start-up left out: of two runs of different length, the difference divided by
the steps between them. Only steps that were learned from count. Contenders take turns. Rates on the clock are given for
an environment that waits; of one that computes they say how many processors were free.
"""

# needs-peers
from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import RESULTS, child, machine, versions
from distributed.learned import run as learn
from distributed.tasks import SEEDS

HERE = Path(__file__).parent
BATCH = {"n_actors": 2, "envs_per_actor": 8, "trajectory_len": 64, "min_batch_slots": 2, "max_batch_slots": 2}
SHORT, LONG = 8_192, 90_112
PEER_SHORT, PEER_LONG = 1_280, 9_600


def marginal(python, script, short, long, **options):
    """Microseconds of processor time per step that was learned from, without start-up."""
    one = child(python, script, {"steps": short, **options}, timeout=600)
    two = child(python, script, {"steps": long, **options}, timeout=600)
    return (two["cpu_s"] - one["cpu_s"]) / (two["trained"] - one["trained"]) * 1e6


def costs(rounds):
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    found = {"actors": [], "one_process": [], "reference": []}
    for seed in range(rounds):
        found["actors"].append(marginal(sys.executable, HERE / "worker.py", SHORT, LONG, seed=seed, **BATCH))
        inline = {**BATCH, "backend": "inline"}
        found["one_process"].append(
            marginal(sys.executable, HERE / "worker.py", SHORT, LONG, seed=seed, **inline)
        )
        if peers:
            found["reference"].append(
                marginal(peers, HERE / "reference.py", PEER_SHORT, PEER_LONG, seed=seed)
            )
        print(
            f"round {seed + 1}: " + ", ".join(f"{k} {v[-1]:.1f} us" for k, v in found.items() if v),
            flush=True,
        )
    medians = {name: statistics.median(values) for name, values in found.items() if values}
    ratios = {"to_one_process": medians["actors"] / medians["one_process"]}
    if "reference" in medians:
        ratios["of_reference"] = medians["reference"] / medians["actors"]
    return {"us_per_trained_step": found, "median": medians, "ratios": ratios}


def on_ray(rounds):
    """The same work with actors of this machine and of a Ray cluster here; what Ray itself takes is left out."""
    found = {"local": [], "ray": [], "ray_learner": []}
    for seed in range(rounds):
        found["local"].append(marginal(sys.executable, HERE / "worker.py", SHORT, LONG, seed=seed, **BATCH))
        options = {"seed": seed, "backend": "ray", **BATCH}
        one, two = (
            child(sys.executable, HERE / "worker.py", {"steps": steps, **options}, timeout=600)
            for steps in (SHORT, LONG)
        )
        trained = two["trained"] - one["trained"]
        for name, part in (("ray", "cpu_s"), ("ray_learner", "learner_s")):
            found[name].append((two[part] - one[part]) / trained * 1e6)
        print(f"round {seed + 1}: " + ", ".join(f"{k} {v[-1]:.1f} us" for k, v in found.items()), flush=True)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {"us_per_trained_step": found, "median": medians}


def waiting(seconds=4.0, wait_s=0.002):
    """Steps a second on the clock where every step waits 2 ms: one process, 2 and 8 actors, one environment each."""
    found = {}
    for name, actors, backend in (
        ("one process", 1, "inline"),
        ("2 actors", 2, "local"),
        ("8 actors", 8, "local"),
    ):
        steps = int(seconds * actors / wait_s)
        options = {
            "n_actors": actors, "envs_per_actor": 1, "trajectory_len": 64, "backend": backend, "wait_s": wait_s,
            "steps": steps, "warm_up": True, "slots_per_actor": 2,
        }  # fmt: skip
        one = child(sys.executable, HERE / "worker.py", options, timeout=600)
        found[name] = one["trained"] / one["elapsed_s"]
        print(f"2 ms per step, {name}: {found[name]:.0f} steps/s, lag {one['lag_mean']:.1f}", flush=True)
    alone = found["one process"]
    return {"steps_per_second": found, "speed_up": {name: rate / alone for name, rate in found.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("costs", "learning", "ray", "waiting"))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of learning: seeds 0 to SEEDS - 1")
    options = parser.parse_args()
    if options.only in {None, "learning"}:
        learn(options.seeds)
    if options.only == "learning":
        return
    found = {"machine": machine(), "versions": versions()}
    if options.only in {None, "costs"}:
        found["costs"] = costs(options.rounds)
    if options.only == "ray" or (options.only is None and importlib.util.find_spec("ray") is not None):
        found["ray"] = on_ray(options.rounds)
    if options.only in {None, "waiting"}:
        found["waiting"] = waiting()
    place = RESULTS / "distributed.json"
    if place.exists():
        found = {**json.loads(place.read_text(encoding="utf-8")), **found}
    place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: found[k] for k in ("costs", "ray", "waiting") if k in found}, indent=1))


if __name__ == "__main__":
    main()
