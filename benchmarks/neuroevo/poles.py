"""Double pole balancing by a population; the argument and the last line of output are JSON. Run by run.py.

Solved with velocities: 100,000 steps. Without: 100,000 steps, and 1,000 steps from at least 200 of 625 other starts, as
Gruau, Whitley & Pyeatt (1996) ask; fitness is theirs, too. Counted are evaluations of the fitness; trying the best
genome on the 625 starts is not one of them (Stanley & Miikkulainen 2002, section 4.3, count likewise).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "packages" / "optix-neuroevo" / "tests" / "population"))

from common import machine, versions
from double_pole import ALL, START, UNMOVING, balanced, damped, starts

from optix_neuroevo import NeuronGraph
from optix_neuroevo.population import Population, PopulationSettings

LONG, SHORT, ENOUGH = 100_000, 1_000, 200


def first(n_inputs):
    def make(rng):
        graph = NeuronGraph(seed=0)
        for i in range(n_inputs):
            graph.add_neuron("input", neuron_id=f"i{i}")
        graph.add_neuron("output", "tanh", "force", bias=float(rng.standard_normal()))
        for i in range(n_inputs):
            graph.add_edge(f"i{i}", "force", float(rng.standard_normal()))
        return graph

    return make


def solves(graph, job):
    """How many of the 625 starts, or None if the poles fall from the usual one."""
    seen = ALL if job["velocities"] else UNMOVING
    if balanced(graph, SHORT, START, seen) < SHORT or balanced(graph, LONG, START, seen) < LONG:
        return None
    return 625 if job["velocities"] else sum(balanced(graph, SHORT, s, seen) == SHORT for s in starts())


def run(job):
    population = Population(
        first(6 if job["velocities"] else 3),
        mutators=job["mutators"],
        settings=PopulationSettings(**job["settings"]),
        seed=job["seed"],
    )
    cpu, best, tried = time.process_time(), None, 0
    solved = False
    while not solved and population.evaluations + population.settings.size <= job["evaluations"]:
        population.step(
            lambda graph, _: float(balanced(graph, LONG)) if job["velocities"] else damped(graph, SHORT)
        )
        if population.fitness != best:
            best = population.fitness
            held = solves(population.best_graph(), job)
            tried = max(tried, held or 0)
            solved = held is not None and held >= ENOUGH
    return {
        "mean": population.evaluations,
        "solved": solved,
        "starts": tried,
        "hidden": population.champion.n_hidden,
        "edges": len(population.champion.edges),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "machine": machine(),
        "versions": versions(),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
