"""From an agent's policy to a :class:`~optix_core.export.PolicyGraph`: all that is the same in every framework.

A backend describes its own layers; the functions here declare observations, normalise them, and end the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_core.errors import ConfigError
from optix_core.export import GraphBuilder, PolicyGraph
from optix_core.rl.masking import OBSERVATION, is_masked, mask_size
from optix_core.rl.spaces import SpaceInfo, describe_space

Value = Any  # the name of a value, or a mapping from names of parts to such values


@dataclass(frozen=True, slots=True)
class Described:
    """How a policy ends.

    Attributes:
        action: The value that is the action of the environment.
        space: The action space.
        named: Values that shall be outputs as well, by the name they get.
    """

    action: str
    space: SpaceInfo
    named: Mapping[str, str] = field(default_factory=dict[str, str])


def exported(
    agent: Any,
    describe_policy: Callable[[GraphBuilder, Value, str | None], Described],
    *,
    space: Any,
    normalizer: Any,
    input_width: int | None,
    action_mask: bool,
) -> PolicyGraph:
    """The graph of an agent's policy.

    Args:
        agent: For what the graph says of its origin.
        describe_policy: Appends the operations from observations to the action.
        space: Of observations; None: vectors of ``input_width`` numbers.
        normalizer: Of observations, or None.
        input_width: Used where the space is not known.
        action_mask: Give the graph an input for masks. Spaces that hold a mask always have it.

    Raises:
        ConfigError: The observation space is not known, or actions cannot be masked.
    """
    b = GraphBuilder()
    own = describe_space(_vectors(input_width) if space is None else space)
    native = is_masked(own.dtype)
    if native:
        own = dict(own.fields)[OBSERVATION]
    x = observed(b, own, normalizer)
    mask = "action_mask" if action_mask or native else None
    found = describe_policy(b, x, mask)
    if mask is not None:
        size = mask_size(found.space)
        if size is None:
            raise ConfigError(f"actions of {found.space.label} cannot be masked; leave action_mask out")
        b.action_mask(size)
    spec_info = getattr(agent, "optix_spec_info", None)
    info = {"agent": type(agent).__name__, "spec": spec_info, "ranges": ranges(own)}
    return b.finish(found.action, action_space=found.space, named=found.named, info=info)


def observed(b: GraphBuilder, space: Any, normalizer: Any = None) -> Value:
    """Declare observations of ``space`` as inputs, normalise what the normaliser normalises, and give their value.

    Whole numbers stay as they are for one-hot encoders; everything else becomes float32.
    """
    found: dict[tuple[str, ...], str] = {}
    for path, (name, info) in b.observations(space).items():
        statistics = None if normalizer is None else normalizer.constants(path)
        if statistics is not None:
            mean, std, clip = statistics
            found[path] = b.add("normalize", name, weights={"mean": mean, "std": std}, clip=clip)
        elif info.kind in {"discrete", "multi_discrete"}:
            found[path] = name
        else:
            found[path] = b.add("cast", name)
    return _nested(found)


def ranges(space: SpaceInfo, path: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """The smallest and largest values of observations that are whole numbers, by input name."""
    if space.fields:
        found: dict[str, list[Any]] = {}
        for name, part in space.fields:
            found |= ranges(part, (*path, name))
        return found
    if space.dtype.kind == "f" or space.low is None or space.high is None:
        return {}
    return {
        ".".join(path) or "observation": [np.asarray(space.low).tolist(), np.asarray(space.high).tolist()]
    }


def perceptron(b: GraphBuilder, x: str, spec: MLPSpec, parameters: NDArray[Any]) -> str:
    """The operations of a perceptron whose ``parameters`` lie in one vector, as ``spec.layout`` says; its result."""
    arrays = spec.layout.views(parameters)
    x = b.add("flatten", x)
    for i, activation in enumerate(spec.activations):
        x = linear(b, x, arrays[f"{i}.weight"], arrays[f"{i}.bias"])
        if activation != "linear":
            x = b.add("activation", x, name=activation)
    return x


def linear(b: GraphBuilder, x: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
    """``W x + b`` with ``weight`` ``[out, in]``."""
    w = np.array(weight, np.float32)
    offset = np.zeros(len(w), np.float32) if bias is None else np.array(bias, np.float32)
    return b.add("linear", x, weights={"weight": w, "bias": offset})


def dueling(b: GraphBuilder, x: str, n_actions: int, width: int = 1) -> str:
    """Value (the first ``width`` columns) and advantages (the rest) as action values."""
    value = b.add("slice", x, start=0, stop=width)
    advantage = b.add("slice", x, start=width, stop=width * (1 + n_actions))
    return b.add("dueling", value, advantage, width=width, actions=n_actions)


def to_box(b: GraphBuilder, x: str, scaler: Any) -> str:
    """Policy actions in [-1, 1] as elements of a Box, as ``scaler`` (a ``BoxScaler``) maps them."""
    return b.add("to_box", x, weights={k: np.asarray(v).reshape(-1) for k, v in scaler.constants().items()})


def _vectors(width: int | None) -> Box:
    if width is None:
        raise ConfigError("the observation space is not known: pass observation_space= to the agent")
    return Box(-np.inf, np.inf, (width,), np.float32)


def _nested(found: Mapping[tuple[str, ...], str]) -> Value:
    if () in found:
        return found[()]
    nested: dict[str, Any] = {}
    for path, name in found.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = name
    return nested
