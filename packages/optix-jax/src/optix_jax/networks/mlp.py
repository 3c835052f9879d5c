"""Perceptrons on one flat vector of parameters, laid out as the numpy mirror reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_core.agents import describing, inputs
from optix_core.agents.initialising import orthogonal
from optix_jax.networks.network import Arrays, Network, Params

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}
"""By the names of ``optix_core.acting``."""

HIDDEN_ACTIVATIONS = tuple(name for name in ACTIVATIONS if name != "linear")
"""What ``activation=`` may be."""


_NARROW = 32
"""Inputs of a layer up to which its gradient by the weights is computed the other way round."""


@jax.custom_vjp
def dense(x: jax.Array, weight: jax.Array) -> jax.Array:
    """``x W^T``, ``[B, out]``, for ``x`` ``[B, in]`` and ``weight`` ``[out, in]``."""
    return lax.dot_general(x, weight, (((1,), (1,)), ((), ())))


def _dense_forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense(x, weight), (x, weight)


def _dense_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = kept
    if weight.shape[1] > _NARROW:
        return gradient @ weight, lax.dot_general(gradient, x, (((0,), (0,)), ((), ())))
    # (x^T g)^T instead of g^T x: on a CPU a product with so few columns takes many times as long as one with so few
    # rows. The barrier keeps XLA from making the one of the other.
    return gradient @ weight, (lax.optimization_barrier(x.T) @ gradient).T


dense.defvjp(_dense_forward, _dense_backward)


def forward(spec: MLPSpec, arrays: Sequence[jax.Array], inputs: jax.Array) -> jax.Array:
    """``[B, out]`` for ``inputs`` ``[B, ...]``, which are flattened; ``arrays`` have the shapes of ``spec.layout``."""
    x = inputs.reshape(len(inputs), -1).astype(arrays[0].dtype)
    for weight, bias, name in zip(arrays[::2], arrays[1::2], spec.activations, strict=True):
        x = ACTIVATIONS[name](dense(x, weight) + bias)
    return x


@dataclass(frozen=True, slots=True)
class Forward:
    """:func:`forward` for one shape; equal shapes are equal, so that what is compiled for one serves the other."""

    spec: MLPSpec
    shareable: ClassVar[bool] = True

    def __call__(self, params: Params, observations: jax.Array) -> jax.Array:
        """``[B, out]``; ``params`` are one vector that fits ``spec.layout``."""
        shapes = self.spec.layout.shapes
        # one split, whose gradient is one concatenation; a slice for each array would pad each gradient to full length
        parts = lax.split(params, [math.prod(shape) for shape in shapes])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return forward(self.spec, arrays, observations)


@dataclass(frozen=True, slots=True)
class LayeredForward:
    """The same for parameters that are a tuple of the arrays of ``spec.layout``."""

    spec: MLPSpec
    shareable: ClassVar[bool] = True

    def __call__(self, params: Params, observations: jax.Array) -> jax.Array:
        """``[B, out]``."""
        return forward(self.spec, params, observations)


def perceptron(spec: MLPSpec, vector: NDArray[Any]) -> Network:
    """The network of shape ``spec`` that starts from ``vector``."""
    layout = spec.layout

    def unpack(params: Params) -> Arrays:
        return {name: view.copy() for name, view in layout.views(np.array(params).reshape(-1)).items()}

    def pack(arrays: Mapping[str, NDArray[Any]]) -> Params:
        return np.concatenate([np.asarray(arrays[name], np.float32).reshape(-1) for name in layout.names])

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        return describing.perceptron(b, x, spec, np.array(params).reshape(-1))

    return Network(
        apply=Forward(spec),
        params=np.asarray(vector, np.float32),
        unpack=unpack,
        pack=pack,
        spec=spec,
        describe=describe,
        input_width=spec.sizes[0],
    )


def layered(network: Network) -> Network:
    """A perceptron whose parameters are an array for each weight and bias, for what the host never evaluates.

    Without a vector nothing is cut out of it and no gradients are put together: a tenth of a step of wide critics.
    """
    spec = network.spec
    assert spec is not None
    names = spec.layout.names

    def unpack(params: Params) -> Arrays:
        return {name: np.array(array) for name, array in zip(names, params, strict=True)}

    def pack(arrays: Mapping[str, NDArray[Any]]) -> Params:
        return tuple(np.asarray(arrays[name], np.float32) for name in names)

    return Network(
        apply=LayeredForward(spec),
        params=pack(network.unpack(network.params)),
        unpack=unpack,
        pack=pack,
        input_width=network.input_width,
    )


def fan_in_vector(spec: MLPSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weights and biases uniform in plus or minus ``1 / sqrt(inputs)`` (Lillicrap et al. 2015, arXiv:1509.02971, 7).

    What networks with targets start from; drawn layer by layer, weight before bias.
    """
    vector = spec.layout.zeros()
    views = spec.layout.views(vector)
    for i, n_in in enumerate(spec.sizes[:-1]):
        bound = 1.0 / math.sqrt(n_in)
        for name in (f"{i}.weight", f"{i}.bias"):
            views[name][...] = rng.uniform(-bound, bound, views[name].shape)
    return vector


def fan_in_mlp(
    sizes: Sequence[int], activation: str, rng: np.random.Generator, *, output: str = "linear"
) -> Network:
    """A perceptron of widths ``sizes``, started as :func:`fan_in_vector` says."""
    spec = MLPSpec.build(tuple(int(size) for size in sizes), activation, output)
    return perceptron(spec, fan_in_vector(spec, rng))


def orthogonal_mlp(
    sizes: Sequence[int], activation: str, rng: np.random.Generator, *, output_gain: float
) -> Network:
    """A perceptron of widths ``sizes``, orthogonally initialised (Saxe et al. 2014, arXiv:1312.6120).

    Hidden layers get the gain sqrt(2), the output layer ``output_gain``, biases 0; the usual choice for PPO
    (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2).
    """
    spec = MLPSpec.build(tuple(int(size) for size in sizes), activation)
    vector = spec.layout.zeros()
    views = spec.layout.views(vector)
    last = len(sizes) - 2
    for i in range(last + 1):
        weight = views[f"{i}.weight"]
        weight[...] = orthogonal(weight.shape, output_gain if i == last else math.sqrt(2.0), rng)
    return perceptron(spec, vector)


def require_architecture(hidden_sizes: object, activation: str, *, owner: str) -> tuple[int, ...]:
    """The hidden widths as a tuple, provided that networks can be made with them.

    Raises:
        ConfigError: They are not positive whole numbers, or the activation is not known.
    """
    known = [name for name in ACTIVATIONS if name != "linear"]
    return inputs.require_architecture(hidden_sizes, activation, known=known, owner=owner)
