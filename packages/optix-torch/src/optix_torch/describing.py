"""PyTorch modules as operations of a :class:`~optix_core.export.PolicyGraph`, so that policies can leave the framework.

Known are the modules that optix-torch makes and the common layers of ``torch.nn`` inside ``nn.Sequential``. A module of
another type may describe itself: ``describe(self, builder, x) -> str``, with ``x`` and the result names of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.errors import ConfigError
from optix_core.export import GraphBuilder, PolicyGraph
from optix_core.rl.masking import OBSERVATION, is_masked, mask_size
from optix_core.rl.spaces import SpaceInfo, describe_space
from optix_torch.networks.encoder_modules import Encoded, Flattened, NatureCNN, OneHot, PerKey
from optix_torch.networks.mlp import GaussianActor

Value = Any  # the name of a value, or a mapping from names of parts to such values

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.ELU: "elu",
    nn.Sigmoid: "sigmoid",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Softplus: "softplus",
}


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
    modules: Sequence[nn.Module],
    action_mask: bool,
) -> PolicyGraph:
    """The graph of an agent's policy.

    Args:
        agent: For what the graph says of its origin.
        describe_policy: Appends the operations from observations to the action.
        space: Of observations; None: vectors as wide as the first linear layer of ``modules``.
        normalizer: Of observations, or None.
        modules: The agent's networks.
        action_mask: Give the graph an input for masks. Spaces that hold a mask always have it.
    """
    b = GraphBuilder()
    own = describe_space(space) if space is not None else describe_space(_vectors(modules))
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


def last_width(module: nn.Module) -> int:
    """How many outputs the last linear layer of ``module`` has.

    Raises:
        ConfigError: It has none.
    """
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ConfigError("the number of actions is not known: pass action_space= to the agent")
    return widths[-1]


def _vectors(modules: Sequence[nn.Module]) -> Box:
    for module in modules:
        for layer in module.modules():
            width = getattr(layer, "in_features", None)
            if isinstance(width, int):
                return Box(-np.inf, np.inf, (width,), np.float32)
    raise ConfigError("the observation space is not known: pass observation_space= to the agent")


def observed(b: GraphBuilder, space: Any, normalizer: Any = None) -> Value:
    """Declare observations of ``space`` as inputs, normalise what the normaliser normalises, and give their value.

    Whole numbers stay as they are for one-hot encoders; everything else becomes float32.
    """
    found: dict[tuple[str, ...], str] = {}
    for path, (name, info) in b.observations(space).items():
        statistics = _statistics(normalizer, path)
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


def describe(b: GraphBuilder, module: nn.Module, x: Value) -> str:
    """Append what ``module`` computes from the value ``x``; the name of its result.

    Raises:
        ConfigError: A module that is not known and does not describe itself.
    """
    own = getattr(module, "describe", None)
    if callable(own):
        return str(own(b, x))
    kind = type(module)
    if kind in _ACTIVATIONS:
        if isinstance(module, nn.ELU) and module.alpha != 1.0:
            raise _unknown(module, "with alpha other than 1")
        if isinstance(module, nn.GELU) and module.approximate != "none":
            raise _unknown(module, "with an approximation")
        return b.add("activation", x, name=_ACTIVATIONS[kind])
    known = _KNOWN.get(kind)
    if known is None:
        raise _unknown(module, "")
    return known(b, module, x)


def linear(b: GraphBuilder, x: str, weight: Any, bias: Any) -> str:
    """``W x + b`` with tensors or arrays."""
    w = _array(weight)
    offset = np.zeros(len(w), w.dtype) if bias is None else _array(bias)
    return b.add("linear", x, weights={"weight": w, "bias": offset})


def recurrent(b: GraphBuilder, rnn: nn.LSTM | nn.GRU, x: str) -> str:
    """One step of ``rnn``, whose memory becomes part of the policy's."""
    cell = "lstm" if isinstance(rnn, nn.LSTM) else "gru"
    parameters = np.concatenate([_array(p).reshape(-1) for p in rnn.parameters()])
    before = b.memory((2 if cell == "lstm" else 1) * rnn.num_layers * rnn.hidden_size)
    out, after = b.add_many(
        "recurrent",
        x,
        before,
        outputs=2,
        weights={"parameters": parameters},
        cell=cell,
        input_size=rnn.input_size,
        hidden_size=rnn.hidden_size,
        layers=rnn.num_layers,
    )
    b.remember(before, after)
    return out


def to_box(b: GraphBuilder, x: str, scaler: Any) -> str:
    """Policy actions in [-1, 1] as elements of a Box, as ``scaler`` (a ``BoxScaler``) maps them."""
    return b.add("to_box", x, weights={k: np.asarray(v).reshape(-1) for k, v in scaler.constants().items()})


def _sequential(b: GraphBuilder, module: Any, x: Value) -> str:
    for child in module:
        x = describe(b, child, x)
    return x


def _linear(b: GraphBuilder, module: Any, x: Value) -> str:
    return linear(b, x, module.weight, module.bias)


def _flatten(b: GraphBuilder, module: Any, x: Value) -> str:
    del module
    return b.add("flatten", x)


def _layer_norm(b: GraphBuilder, module: Any, x: Value) -> str:
    if len(module.normalized_shape) != 1 or module.weight is None or module.bias is None:
        raise _unknown(module, "over several axes, or without weight and bias")
    weights = {"weight": _array(module.weight), "bias": _array(module.bias)}
    return b.add("layer_norm", x, weights=weights, epsilon=module.eps)


def _conv2d(b: GraphBuilder, module: Any, x: Value) -> str:
    plain = module.groups == 1 and tuple(module.dilation) == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        raise _unknown(module, "with groups, dilation or such padding")
    weight = _array(module.weight)
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else _array(module.bias)
    return b.add(
        "conv2d",
        x,
        weights={"weight": weight, "bias": bias},
        stride=list(module.stride),
        padding=list(module.padding),
    )


def _nature_cnn(b: GraphBuilder, module: Any, x: Value) -> str:
    if module.channels_last:
        x = b.add("channels_first", x)
    if module.scale != 1.0:
        x = b.add("scale", x, divisor=1.0 / module.scale)
    return describe(b, module.layers, x)


def _one_hot(b: GraphBuilder, module: Any, x: Value) -> str:
    starts = np.cumsum(module._sizes) - module._sizes - module._starts
    return b.add("one_hot", x, n=module._sizes, start=starts)


def _per_key(b: GraphBuilder, module: Any, x: Value) -> str:
    parts = [describe(b, part, x[name]) for name, part in zip(module.names, module.parts, strict=True)]
    return parts[0] if len(parts) == 1 else b.add("concat", *parts)


def _encoded(b: GraphBuilder, module: Any, x: Value) -> str:
    return describe(b, module.trunk, describe(b, module.encoder, x))


def dueling(b: GraphBuilder, x: str, n_actions: int, width: int = 1) -> str:
    """Value (the first ``width`` columns) and advantages (the rest) as action values."""
    value = b.add("slice", x, start=0, stop=width)
    advantage = b.add("slice", x, start=width, stop=width * (1 + n_actions))
    return b.add("dueling", value, advantage, width=width, actions=n_actions)


def _gaussian(b: GraphBuilder, module: Any, x: Value) -> str:
    return describe(b, module.mean, x)  # the greedy action knows no deviations


def _identity(b: GraphBuilder, module: Any, x: Value) -> str:
    del b, module
    return x


_KNOWN: Mapping[type[nn.Module], Callable[[GraphBuilder, Any, Value], str]] = {
    nn.Sequential: _sequential,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
    nn.Dropout: _identity,  # policies act in eval mode
    nn.LayerNorm: _layer_norm,
    nn.Conv2d: _conv2d,
    Flattened: _flatten,
    NatureCNN: _nature_cnn,
    OneHot: _one_hot,
    PerKey: _per_key,
    Encoded: _encoded,
    GaussianActor: _gaussian,
}


def _statistics(normalizer: Any, path: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[Any], float] | None:
    """Mean, deviation and clip of one part of the observation; None if it is not normalised."""
    return None if normalizer is None else normalizer.constants(path)


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


def _array(tensor: Any) -> NDArray[Any]:
    array = tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else np.asarray(tensor)
    return array.astype(np.float32)


def _unknown(module: nn.Module, how: str) -> ConfigError:
    return ConfigError(
        f"a network with a {type(module).__name__}{' ' + how if how else ''} cannot be exported: known are "
        f"{', '.join(sorted(kind.__name__ for kind in [*_KNOWN, *_ACTIVATIONS]))}. Give the module a method "
        "describe(builder, x) that appends its operations (optix_core.export.GraphBuilder)."
    )
