"""What an actor or a call takes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

PATIENCE_S = 5.0
"""How long to wait for what is missing: a node that has just joined says a moment later what it has."""


def needs_of(resources: Mapping[str, float] | None) -> dict[str, float]:
    """Amounts by name: one CPU unless told otherwise."""
    return {"CPU": 1.0, **{name: float(amount) for name, amount in (resources or {}).items()}}


def options_of(needs: Mapping[str, float]) -> dict[str, Any]:
    """The same as options of Ray."""
    return {
        "num_cpus": needs.get("CPU", 0.0),
        "num_gpus": needs.get("GPU", 0.0),
        "resources": {name: amount for name, amount in needs.items() if name not in {"CPU", "GPU"}},
        "scheduling_strategy": "SPREAD",
    }


def cluster_total(needs: Mapping[str, float], times: int = 1) -> Mapping[str, float]:
    """What the cluster has in all; asked again for a while if that is less than ``needs`` so many times."""
    import ray

    until = time.monotonic() + PATIENCE_S
    while True:
        total: Mapping[str, float] = ray.cluster_resources()
        enough = all(times * amount <= total.get(name, 0.0) for name, amount in needs.items())
        if enough or time.monotonic() >= until:
            return total
        time.sleep(0.1)
