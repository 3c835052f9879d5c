"""A network as a pure function of its parameters: what every agent of this distribution trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder

Params = Any
"""A pytree of arrays; one flat float32 vector for a perceptron."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A function with the parameters that it starts from.

    Attributes:
        apply: ``(params, observations) -> outputs``, pure; observations are an array ``[B, *obs]``, or a dict of such
            for observations with parts.
        params: Initial parameters.
        unpack: Parameters to named arrays, for files.
        pack: The inverse of ``unpack``.
        spec: Of a plain perceptron, whose parameters are one vector that fits ``spec.layout``; None for anything else.
        describe: ``(builder, params on the host, x) -> value``: appends the operations to a policy graph; None if
            nobody knows them.
        input_width: Numbers in one observation, if the first layer tells.
    """

    apply: Callable[..., jax.Array]
    params: Params
    unpack: Callable[[Params], Arrays]
    pack: Callable[[Mapping[str, NDArray[Any]]], Params]
    spec: MLPSpec | None = None
    describe: Callable[[GraphBuilder, Params, Any], str] | None = None
    input_width: int | None = None


def tree_network(
    apply: Callable[..., jax.Array],
    params: Params,
    *,
    describe: Callable[[GraphBuilder, Params, Any], str] | None = None,
    input_width: int | None = None,
) -> Network:
    """A network whose arrays are named by their paths in the tree of parameters."""
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    names = tuple(jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths)

    def unpack(tree: Params) -> Arrays:
        return dict(zip(names, (np.array(leaf) for leaf in jax.tree.leaves(tree)), strict=True))

    def pack(arrays: Mapping[str, NDArray[Any]]) -> Params:
        return jax.tree.unflatten(structure, [np.asarray(arrays[name]) for name in names])

    return Network(
        apply=apply, params=params, unpack=unpack, pack=pack, describe=describe, input_width=input_width
    )


def encoded(encoder: Network, trunk: Network) -> Network:
    """``trunk`` behind ``encoder``, which turns observations into features ``[B, F]``."""

    def apply(params: Params, observations: Any) -> jax.Array:
        return trunk.apply(params["trunk"], encoder.apply(params["encoder"], observations))

    def unpack(params: Params) -> Arrays:
        return prefixed("encoder", encoder.unpack(params["encoder"])) | prefixed(
            "trunk", trunk.unpack(params["trunk"])
        )

    def pack(arrays: Mapping[str, NDArray[Any]]) -> Params:
        return {
            "encoder": encoder.pack(without_prefix("encoder", arrays)),
            "trunk": trunk.pack(without_prefix("trunk", arrays)),
        }

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        assert encoder.describe is not None
        assert trunk.describe is not None
        return trunk.describe(b, params["trunk"], encoder.describe(b, params["encoder"], x))

    known = encoder.describe is not None and trunk.describe is not None
    return Network(
        apply=apply,
        params={"encoder": encoder.params, "trunk": trunk.params},
        unpack=unpack,
        pack=pack,
        describe=describe if known else None,
        input_width=encoder.input_width,
    )


def described(network: Network, b: GraphBuilder, params: Params, x: Any) -> str:
    """Append what ``network`` computes from the value ``x``; the name of its result.

    Raises:
        ConfigError: It is a module of a user, whose operations nobody knows.
    """
    if network.describe is None:
        raise ConfigError(
            "a network that is, or has, a flax module of your own cannot be exported: its operations are not known. "
            "Give a network of optix_jax.networks with a describe function (optix_core.export.GraphBuilder)."
        )
    return network.describe(b, params, x)


def prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The same arrays as ``prefix.name``."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays called ``prefix.name``, by ``name``."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
