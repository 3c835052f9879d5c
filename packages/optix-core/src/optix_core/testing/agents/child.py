"""The other process of ``persistence-fresh-process``: builds agents, loads weights, prints greedy actions as JSON.

Run as ``python -m optix_core.testing.agents.child`` with the job as JSON on standard input.
"""

from __future__ import annotations

import json
import pkgutil
import sys

from optix_core.testing.agents.front import subject_from_factory
from optix_core.testing.agents.subject import probe_observations
from optix_core.testing.windows import greedy


def main() -> int:
    """Do the job that stands on standard input."""
    job = json.loads(sys.stdin.read())
    if job["by_name"]:
        from optix_core.testing.agents.front import subject_from_name

        subject = subject_from_name(job["factory"], options=job["options"])
    else:
        subject = subject_from_factory(
            pkgutil.resolve_name(job["factory"]),
            action_spaces=tuple(job["action_spaces"]),
            observation_spaces=tuple(job["observation_spaces"]),
            options=job["options"],
        )
    answers: dict[str, list[object]] = {}
    for kind, path in job["paths"].items():
        env = subject.envs()[kind]
        agent = subject.make(env, 21)
        agent.load_weights(path)
        answers[kind] = [a.tolist() for a in greedy(agent, probe_observations(env))]
    print(json.dumps(answers))  # noqa: T201 (the answer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
