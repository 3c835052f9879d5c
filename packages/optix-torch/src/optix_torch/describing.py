"""PyTorch modules as operations of a :class:`~optix_core.export.PolicyGraph`, so that policies can leave the framework.

Known are the modules that optix-torch makes and the common layers of ``torch.nn`` inside ``nn.Sequential``. A module of
another type may describe itself: ``describe(self, builder, x) -> str``, with ``x`` and the result names of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.agents.describing import Value, linear
from optix_core.errors import ConfigError
from optix_core.export import GraphBuilder
from optix_torch.networks.encoder_modules import Encoded, Flattened, NatureCNN, OneHot, PerKey
from optix_torch.networks.mlp import GaussianActor

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.ELU: "elu",
    nn.Sigmoid: "sigmoid",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Softplus: "softplus",
}


def last_width(module: nn.Module) -> int:
    """How many outputs the last linear layer of ``module`` has.

    Raises:
        ConfigError: It has none.
    """
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ConfigError("the number of actions is not known: pass action_space= to the agent")
    return widths[-1]


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


def recurrent(b: GraphBuilder, rnn: nn.LSTM | nn.GRU, x: str) -> str:
    """One step of ``rnn``, whose memory becomes part of the policy's."""
    cell = "lstm" if isinstance(rnn, nn.LSTM) else "gru"
    parameters = np.concatenate([array(p).reshape(-1) for p in rnn.parameters()])
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


def _sequential(b: GraphBuilder, module: Any, x: Value) -> str:
    for child in module:
        x = describe(b, child, x)
    return x


def _linear(b: GraphBuilder, module: Any, x: Value) -> str:
    return linear(b, x, array(module.weight), None if module.bias is None else array(module.bias))


def _flatten(b: GraphBuilder, module: Any, x: Value) -> str:
    del module
    return b.add("flatten", x)


def _layer_norm(b: GraphBuilder, module: Any, x: Value) -> str:
    if len(module.normalized_shape) != 1 or module.weight is None or module.bias is None:
        raise _unknown(module, "over several axes, or without weight and bias")
    weights = {"weight": array(module.weight), "bias": array(module.bias)}
    return b.add("layer_norm", x, weights=weights, epsilon=module.eps)


def _conv2d(b: GraphBuilder, module: Any, x: Value) -> str:
    plain = module.groups == 1 and tuple(module.dilation) == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        raise _unknown(module, "with groups, dilation or such padding")
    weight = array(module.weight)
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else array(module.bias)
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


def array(tensor: Any) -> NDArray[Any]:
    """A tensor or an array as float32 on the host."""
    array = tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else np.asarray(tensor)
    return array.astype(np.float32)


def _unknown(module: nn.Module, how: str) -> ConfigError:
    return ConfigError(
        f"a network with a {type(module).__name__}{' ' + how if how else ''} cannot be exported: known are "
        f"{', '.join(sorted(kind.__name__ for kind in [*_KNOWN, *_ACTIVATIONS]))}. Give the module a method "
        "describe(builder, x) that appends its operations (optix_core.export.GraphBuilder)."
    )
