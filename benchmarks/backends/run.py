"""How fast are the JAX and TensorFlow agents, beside Stable-Baselines3, sbx and the reference package in the same run?

# needs-peers

    python3 dev.py bench backends                # prints tables, writes benchmarks/results/backends-PEER.json
    python3 dev.py bench backends --rounds 5 --cases jax-ppo-update

Every round runs, case by case, one process of each side, one after the other, on one thread. What counts is CPU time of
the process (``time.process_time``), because it hardly depends on what else runs; compilation is left out of it and
reported apart. Reported are medians over rounds with their range; the ratio is that of the two sides in the same round.

PPO: CartPole-v1, 2048 samples per update, 10 epochs, minibatch 64, separate 64x64 tanh networks, on all sides.
SAC: Pendulum-v1, 256x256 networks, batch 256, one gradient step per environment step, on all sides.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from backends.cases import CASES, PEERS, SCRIPTS
from common import RESULTS, ChildFailed, child, write_json
from speed import print_rows, rows_of


def run_case(name, peers_python, wanted, done):
    """Figures of one round by side; what another case has measured in this round is not measured again."""
    case = CASES[name]
    script, measure = case["ours"]
    found = {"optix": child(sys.executable, HERE / script, {"measure": measure})}
    for peer, (measured, _) in case["peers"].items():
        if peer in wanted:
            key = (peer, measured)
            if key not in done:
                done[key] = child(peers_python, HERE / SCRIPTS[peer], {"measure": measured})
            found[peer] = done[key]
    return found


def document_of(peer, names, rounds, taken):
    """One result file: what was measured beside ``peer``."""
    cases = [name for name in names if peer in CASES[name]["peers"]]
    cases = [name for name in cases if taken.get((name, peer))]
    sides, rows, versions = {"optix": {}, peer: {}}, [], {}
    for name in cases:
        case = CASES[name]
        rows.append({
            "label": case["label"],
            "metric": name,
            "unit": case["unit"],
            "better": case["better"],
            "goal": case["peers"][peer][1],
        })  # fmt: skip
        both = {"optix": taken[name, "optix"], peer: taken[name, peer]}
        for side, rounds_of in both.items():
            versions[side] = versions.get(side, {}) | rounds_of[0]["versions"]
            sides[side][name] = [one["value"] for one in rounds_of]
        if all("first_s" in one for found in both.values() for one in found):
            first = f"{name}-first"
            for side, rounds_of in both.items():
                sides[side][first] = [one["first_s"] for one in rounds_of]
            rows.append({
                "label": f"{case['label']}: first call, compiling",
                "metric": first,
                "unit": "s",
                "better": "lower",
                "goal": None,
            })  # fmt: skip
    if not cases:
        return None
    return {
        "kind": "speed",
        "name": f"backends-{peer}",
        "title": f"JAX and TensorFlow agents beside {PEERS[peer]}",
        "peer": PEERS[peer],
        "command": f"python3 dev.py bench backends --rounds {rounds}",
        "machine": taken[cases[0], "optix"][0]["machine"],
        "versions": versions,
        "sides": sides,
        "rows": rows,
    }


def main():
    parser = argparse.ArgumentParser(description="JAX and TensorFlow agents beside their peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", metavar="A,B", default=",".join(CASES), help="only these")
    parser.add_argument("--peers", metavar="A,B", default=",".join(PEERS), help="only beside these")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result files")
    options = parser.parse_args()
    names, wanted = options.cases.split(","), options.peers.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise SystemExit(f"no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    if unknown := [name for name in wanted if name not in PEERS]:
        raise SystemExit(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench backends")
    taken, failed = {}, 0
    for i in range(options.rounds):
        done = {}
        for name in list(names):
            try:
                found = run_case(name, peers, wanted, done)
            except ChildFailed as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                names.remove(name)
                failed += 1
                continue
            for side, figures in found.items():
                taken.setdefault((name, side), []).append(figures)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    missed = 0
    for peer in wanted:
        document = document_of(peer, names, options.rounds, taken)
        if document is not None:
            write_json(options.out / f"backends-{peer}.json", document)
            print(f"\nbeside {PEERS[peer]}")
            missed += print_rows(rows_of(document))
    return 1 if missed + failed else 0


if __name__ == "__main__":
    sys.exit(main())
