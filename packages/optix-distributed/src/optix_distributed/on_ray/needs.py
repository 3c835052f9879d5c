"""What an actor or a call takes of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
