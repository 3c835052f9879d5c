"""Whether a checkpoint fits an agent, decided before the agent is touched.

What has to fit are the arrays that make up the architecture. Optimizer moments and replay memories come and
go, so they are left out: an agent names the parts of its state that hold fixed arrays in ``architecture_keys``, as
keys or as paths like ``"actor/networks"`` (empty: nothing is fixed, ``load_state_dict`` rebuilds it all). An agent
that says nothing is compared by ``"weights"`` if its state has that key, and otherwise by those arrays that both
sides have. Sealed arrays hold what was collected and never count.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from optix_core.checkpoints.codec import encode_components
from optix_core.checkpoints.jsonio import JsonObject
from optix_core.checkpoints.reader import CheckpointInfo, LoadedCheckpoint
from optix_core.checkpoints.tensors import describe
from optix_core.errors import IncompatibleCheckpoint

DEFAULT_KEYS = ("weights",)
SHOWN = 5


def describe_agent(agent: Any) -> JsonObject:
    """Who an agent is, as far as it says: class, distribution, version, spaces."""
    kind = cast("type[Any]", type(agent))
    package = kind.__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    return {
        "id": str(getattr(agent, "agent_id", None) or f"{kind.__module__}.{kind.__qualname__}"),
        "package": package,
        "version": None if version is None else str(version),
        "observation_space": describe_space(getattr(agent, "observation_space", None)),
        "action_space": describe_space(getattr(agent, "action_space", None)),
    }


def describe_space(space: Any) -> str | None:
    """A gymnasium space in a few words; bounds of a large Box are summarised."""
    if space is None:
        return None
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is not None and high is not None and getattr(low, "size", 1) > 8:
        shape = list(getattr(space, "shape", ()) or ())
        return f"{type(space).__name__}({low.min()}, {high.max()}, shape {shape}, {space.dtype})"
    return str(space)[:500]


def architecture_keys(agent: Any) -> tuple[str, ...] | None:
    """What the agent declares, or None if it says nothing."""
    declared = getattr(agent, "architecture_keys", None)
    return None if declared is None else tuple(str(key) for key in declared)


def architecture_of(state: Mapping[str, Any], keys: Sequence[str] | None) -> JsonObject:
    """Dtype and shape of the arrays that make up the architecture, by path inside the state.

    Args:
        state: An agent's state.
        keys: Keys or paths of what holds them, or None for the rule in the module docstring.
    """
    if keys is None and any(key in state for key in DEFAULT_KEYS):
        keys = DEFAULT_KEYS
    chosen: Mapping[str, Any] = state
    if keys is not None:
        chosen = {}
        for key in keys:
            _choose(state, chosen, key)
    arrays = encode_components({"agent": chosen}).arrays
    return {
        "complete": keys is not None,
        "tensors": {n.partition("/")[2]: d for n, d in describe(arrays).items()},
    }


def _choose(state: Mapping[str, Any], chosen: dict[str, Any], path: str) -> None:
    """Take what lies at ``path`` in ``state``, if anything, over to the same place in ``chosen``."""
    if path in state:
        chosen[path] = state[path]
        return
    head, _, rest = path.partition("/")
    inner = state.get(head)
    if rest and isinstance(inner, Mapping):
        place = chosen.setdefault(head, {})
        _choose(cast("Mapping[str, Any]", inner), place, rest)


def check_compatible(
    current: Mapping[str, Any],
    loaded: LoadedCheckpoint,
    *,
    keys: Sequence[str] | None = None,
    agent: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a checkpoint whose agent is another than the one at hand.

    Args:
        current: The state of the agent as it is now.
        loaded: The checkpoint.
        keys: As declared by the agent (:func:`architecture_keys`).
        agent: :func:`describe_agent` of it, for the message.

    Raises:
        IncompatibleCheckpoint: With agents, spaces and the first differences.
    """
    differences = _differences(architecture_of(current, keys), loaded.info.manifest.architecture)
    if not differences:
        return
    lines = [
        f"  {name}: this agent has {_shape(here)}, the checkpoint {_shape(there)}"
        for name, here, there in differences[:SHOWN]
    ]
    if len(differences) > SHOWN:
        lines.append(f"  and {len(differences) - SHOWN} more")
    theirs = loaded.info.manifest.agent
    for key, label in (
        ("id", "agent"),
        ("observation_space", "observation space"),
        ("action_space", "action space"),
    ):
        here, there = (agent or {}).get(key), theirs.get(key)
        if here != there and here is not None and there is not None:
            lines.append(f"  {label}: here {here}, in the checkpoint {there}")
    raise IncompatibleCheckpoint(
        f"{loaded.info.path} (agent {theirs.get('id', 'unknown')}, version {theirs.get('version')}) does "
        f"not fit this agent{'' if agent is None else ' ' + str(agent.get('id'))}: {len(differences)} "
        "weights differ.\n" + "\n".join(lines) + "\nThe agent "
        "was left as it is. Build it with the environment and network sizes of the checkpoint, or choose "
        "another checkpoint."
    )


def fits(agent: Any, state: Mapping[str, Any] | None, info: CheckpointInfo) -> bool:
    """Whether a checkpoint looks as if ``agent`` could take it, by its manifest alone.

    Args:
        agent: The agent.
        state: Its present state, or None if it has no ``state_dict``; its class then has to be the same.
        info: The checkpoint.
    """
    if state is None:
        return info.manifest.agent.get("id") == describe_agent(agent)["id"]
    return not _differences(architecture_of(state, architecture_keys(agent)), info.manifest.architecture)


def _differences(mine: JsonObject, stored: JsonObject) -> list[tuple[str, Any, Any]]:
    """Name, here, there."""
    found = cast("JsonObject", stored.get("tensors") or {})
    wanted = cast("JsonObject", mine["tensors"])
    complete = bool(mine["complete"] and stored.get("complete"))
    return [
        (name, wanted.get(name), found.get(name))
        for name in sorted(set(wanted) | set(found))
        if wanted.get(name) != found.get(name) and (complete or (name in wanted and name in found))
    ]


def _shape(entry: Any) -> str:
    if entry is None:
        return "nothing"
    return f"{entry['dtype']}{entry['shape']} ({math.prod(entry['shape'])} values)"
