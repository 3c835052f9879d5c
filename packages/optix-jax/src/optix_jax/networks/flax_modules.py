"""Modules of users, flax.linen or flax.nnx, as pure functions of their parameters."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from optix_core.errors import ConfigError
from optix_core.rl.masking import OBSERVATION, is_masked
from optix_core.rl.spaces import describe_space
from optix_jax.networks.network import Network, Params, tree_network
from optix_jax.training.compiled import tree_of


def network_of(module: Any, *example: Any, rng: np.random.Generator, what: str) -> Network:
    """``module`` as a :class:`Network`; networks of ours pass through.

    Inputs reach it as float32, whatever the dtype of observations. Only parameters are trained. Whatever else a module
    keeps (statistics of batch normalisation) stays as it is, and nnx modules are put into eval mode. The module that
    was given is not changed.

    Args:
        module: A ``flax.nnx.Module`` with its parameters, a ``flax.linen.Module`` (whose parameters are made here), or
            a :class:`Network`.
        example: Inputs of a call, which linen needs; None among them: not known.
        rng: Draws the seed of linen's parameters.
        what: For messages, such as ``"the actor"``.

    Raises:
        ConfigError: It is none of these, has no parameters, or cannot be called with the example.
    """
    if isinstance(module, Network):
        return module
    if isinstance(module, nnx.Module):
        return _from_nnx(module, what)
    if isinstance(module, linen.Module):
        return _from_linen(module, example, rng, what)
    raise ConfigError(
        f"{what} is a {type(module).__name__}; it must be a flax.nnx.Module, a flax.linen.Module, or a network of "
        "optix_jax.networks"
    )


def observation_example(space: Any, *, rows: int = 1) -> Any:
    """Observations of ``space``, all zeros, as networks get them ``[rows, *obs]``; None for None.

    Spaces of an observation with its action mask give the observation: masks are no input of networks.
    """
    if space is None:
        return None
    info = describe_space(space)
    if is_masked(info.dtype):
        info = dict(info.fields)[OBSERVATION]
    return tree_of(np.zeros((rows, *info.shape), info.dtype))


def takes_both(critic: Any) -> bool:
    """Whether a critic takes observations and actions apart, by the parameters of its ``__call__``.

    Raises:
        ConfigError: It takes neither one nor two.
    """
    if isinstance(critic, Network):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = [p for p in inspect.signature(critic.__call__).parameters.values() if p.kind in kinds]
    required = sum(p.default is inspect.Parameter.empty for p in accepted)
    if required not in {1, 2}:
        raise ConfigError(
            f"{type(critic).__name__}.__call__ takes {required} arguments; a critic takes one row of observation and "
            "action, or the two apart"
        )
    return required == 2


def _from_nnx(module: nnx.Module, what: str) -> Network:
    own = nnx.clone(module)
    own.eval()
    graph, params, rest = nnx.split(own, nnx.Param, ...)
    _require_parameters(params, what, module)

    def apply(params: Params, *inputs: Any) -> jax.Array:
        return nnx.merge(graph, params, rest)(*_floats(inputs))

    return tree_network(apply, params)


def _from_linen(
    module: linen.Module, example: tuple[Any, ...], rng: np.random.Generator, what: str
) -> Network:
    if any(part is None for part in example):
        raise ConfigError(
            f"{what} is a flax.linen.Module, whose parameters are made for observations of a known shape: pass "
            "observation_space= to the agent"
        )
    try:
        variables = module.init(jax.random.key(int(rng.integers(2**31))), *_floats(example))
    except Exception as error:
        shapes = jax.tree.map(np.shape, example)
        raise ConfigError(
            f"{what}, a {type(module).__name__}, cannot be called with inputs of shapes {shapes}: "
            f"{type(error).__name__}: {error}"
        ) from error
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables.get("params", {})
    _require_parameters(params, what, module)

    def apply(params: Params, *inputs: Any) -> jax.Array:
        found: Any = module.apply({"params": params, **rest}, *_floats(inputs))
        return found

    return tree_network(apply, params)


def _floats(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), inputs)


def _require_parameters(params: Params, what: str, module: Any) -> None:
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ConfigError(f"{what}, a {type(module).__name__}, has no parameters that could be trained")
    wrong = sorted({str(leaf.dtype) for leaf in leaves} - {"float32", "float64"})
    if wrong:
        raise ConfigError(
            f"{what}, a {type(module).__name__}, has parameters of {', '.join(wrong)}; they must be float32"
        )
