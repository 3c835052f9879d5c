"""The operations of a :class:`~optix_core.export.graph.PolicyGraph` in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from optix_core.acting.recurrent import RecurrentCell, RecurrentSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation and what it is applied to: values x, attributes a, weights w."""

    x: Sequence[Array]
    a: Mapping[str, Any]
    w: Mapping[str, Array]


Operation = Callable[[Op], tuple[Array, ...]]


def cast(o: Op) -> tuple[Array, ...]:
    """As float32."""
    return (o.x[0].astype(np.float32),)


def scale(o: Op) -> tuple[Array, ...]:
    """Divide."""
    return (o.x[0] / np.float32(o.a["divisor"]),)


def normalize(o: Op) -> tuple[Array, ...]:
    """Standardise and clip."""
    centred = (o.x[0].astype(np.float64) - o.w["mean"]) / o.w["std"]
    return (np.clip(centred, -o.a["clip"], o.a["clip"]).astype(np.float32),)


def flatten(o: Op) -> tuple[Array, ...]:
    """One row each."""
    return (o.x[0].reshape(len(o.x[0]), -1),)


def channels_first(o: Op) -> tuple[Array, ...]:
    """Channels from the last axis to the first."""
    return (o.x[0].transpose(0, 3, 1, 2),)


def one_hot(o: Op) -> tuple[Array, ...]:
    """A one at each choice."""
    sizes = np.asarray(o.a["n"], np.int64)
    choices = o.x[0].reshape(len(o.x[0]), -1).astype(np.int64) - np.asarray(o.a["start"], np.int64)
    offsets = np.cumsum(sizes) - sizes
    out = np.zeros((len(choices), int(sizes.sum())), np.float32)
    np.put_along_axis(out, choices + offsets, 1.0, axis=1)
    return (out,)


def conv2d(o: Op) -> tuple[Array, ...]:
    """Cross-correlation over the last two axes."""
    image, (high, wide), (down, right) = o.x[0], o.a["padding"], o.a["stride"]
    if high or wide:
        image = np.pad(image, ((0, 0), (0, 0), (high, high), (wide, wide)))
    windows = sliding_window_view(image, o.w["weight"].shape[2:], axis=(2, 3))[:, :, ::down, ::right]
    out = np.tensordot(windows, o.w["weight"], axes=((1, 4, 5), (1, 2, 3)))  # [N, H, W, O]
    return (np.ascontiguousarray((out + o.w["bias"]).transpose(0, 3, 1, 2)),)


def linear(o: Op) -> tuple[Array, ...]:
    """``W x + b``."""
    return (o.x[0] @ o.w["weight"].T + o.w["bias"],)


def activation(o: Op) -> tuple[Array, ...]:
    """Element by element."""
    return (ACTIVATIONS[o.a["name"]](o.x[0]).astype(o.x[0].dtype, copy=False),)


def layer_norm(o: Op) -> tuple[Array, ...]:
    """Zero mean and unit variance over the last axis, then weight and bias (Ba et al. 2016, arXiv:1607.06450)."""
    centred = o.x[0] - o.x[0].mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + o.a["epsilon"])
    return ((centred / spread * o.w["weight"] + o.w["bias"]).astype(o.x[0].dtype, copy=False),)


def concat(o: Op) -> tuple[Array, ...]:
    """Side by side."""
    return (np.concatenate(o.x, axis=-1),)


def slice_(o: Op) -> tuple[Array, ...]:
    """Some columns."""
    return (o.x[0][:, o.a["start"] : o.a["stop"]],)


def recurrent(o: Op) -> tuple[Array, ...]:
    """One step of an LSTM or GRU, perhaps of several layers."""
    x, memory = o.x
    a = o.a
    spec = RecurrentSpec(a["cell"], a["input_size"], a["hidden_size"], a["layers"])
    after = np.empty_like(memory)
    return RecurrentCell(spec, o.w["parameters"]).step(x, memory, after).copy(), after


def dueling(o: Op) -> tuple[Array, ...]:
    """Value plus centred advantage (Wang et al. 2016, arXiv:1511.06581, equation 9)."""
    value, advantage = o.x
    k = value.shape[1]
    by_action = advantage.reshape(len(advantage), -1, k)
    combined = value[:, None] + by_action - by_action.mean(axis=1, keepdims=True)
    return (combined.reshape(len(value), -1),)


def expectation(o: Op) -> tuple[Array, ...]:
    """Mean of a categorical distribution over atoms, for each action."""
    logits = o.x[0].reshape(len(o.x[0]), -1, len(o.w["atoms"]))
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return ((weights @ o.w["atoms"]) / weights.sum(axis=-1),)


def mask(o: Op) -> tuple[Array, ...]:
    """Forbid."""
    return (np.where(o.x[1], o.x[0], np.float32(-math.inf)),)


def argmax(o: Op) -> tuple[Array, ...]:
    """The best choice."""
    return (o.x[0].argmax(axis=1) + o.a["start"],)


def multi_argmax(o: Op) -> tuple[Array, ...]:
    """The best choice of each component."""
    pieces = np.split(o.x[0], np.cumsum(o.a["nvec"])[:-1], axis=1)
    best = np.stack([piece.argmax(axis=1) for piece in pieces], axis=1)
    return (best + np.asarray(o.a["start"], np.int64),)


def positive(o: Op) -> tuple[Array, ...]:
    """One where above zero."""
    return ((o.x[0] > 0).astype(np.int8),)


def to_box(o: Op) -> tuple[Array, ...]:
    """As :class:`~optix_core.rl.BoxScaler` does."""
    unit = np.minimum(np.maximum(o.x[0].astype(np.float64), o.w["unit_low"]), o.w["unit_high"])
    return (np.minimum(np.maximum(o.w["centre"] + o.w["half"] * unit, o.w["low"]), o.w["high"]),)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _gelu(x: Array) -> Array:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x: np.logaddexp(x, 0),
}

OPERATIONS: Mapping[str, Operation] = {
    "cast": cast,
    "scale": scale,
    "normalize": normalize,
    "flatten": flatten,
    "channels_first": channels_first,
    "one_hot": one_hot,
    "conv2d": conv2d,
    "linear": linear,
    "activation": activation,
    "layer_norm": layer_norm,
    "concat": concat,
    "slice": slice_,
    "recurrent": recurrent,
    "dueling": dueling,
    "expectation": expectation,
    "mask": mask,
    "argmax": argmax,
    "multi_argmax": multi_argmax,
    "positive": positive,
    "to_box": to_box,
}
