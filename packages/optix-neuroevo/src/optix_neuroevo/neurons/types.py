"""Neuron types: one formula each, that numpy, PyTorch and exports all run.

A type without state and parameters is the *point* type: an activation of weighted input plus bias. Every other type
is a formula ``(x, state, parameters) -> (h, state)`` on scalars, applied elementwise to all neurons of the type at
once. It is written with ``+ - * /`` and the functions of :class:`Maths` only, so that it needs no second version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import PluginBroken, PluginConflict, PluginNotFound

Array = NDArray[Any]
State = tuple[Any, ...]


class Maths(Protocol):
    """Elementwise functions, of numpy or of PyTorch."""

    def sigmoid(self, x: Any, /) -> Any:
        """``1 / (1 + exp(-x))``."""
        ...

    def tanh(self, x: Any, /) -> Any:
        """Hyperbolic tangent."""
        ...

    def exp(self, x: Any, /) -> Any:
        """Exponential."""
        ...


class NumpyMaths:
    """:class:`Maths` of arrays."""

    def sigmoid(self, x: Array, /) -> Array:
        """``(1 + tanh(x / 2)) / 2``, which cannot overflow."""
        y = x * 0.5
        np.tanh(y, out=y)
        y += 1.0
        y *= 0.5
        return y

    tanh = staticmethod(np.tanh)
    exp = staticmethod(np.exp)


NUMPY = NumpyMaths()


class Jacobian(Protocol):
    """Derivatives of a type's formula, elementwise, for inputs of any shape."""

    def __call__(self, x: Array, state: Any, parameters: Any, /) -> Derivatives:
        """Derivatives at ``x`` and ``state`` (arrays of one shape) and parameters that broadcast against them."""
        ...


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Partial derivatives of ``(h, state after)`` by ``(x, state before, parameters)``; 0.0 where there are none.

    Attributes:
        h_x: dh / dx.
        h_state: dh / ds_i for each state variable.
        state_x: ds'_j / dx for each state variable.
        state_state: ds'_j / ds_i, ``[j][i]``.
        h_parameters: dh / dp_k for each parameter.
        state_parameters: ds'_j / dp_k, ``[j][k]``.
    """

    h_x: Any
    h_state: Sequence[Any]
    state_x: Sequence[Any]
    state_state: Sequence[Sequence[Any]]
    h_parameters: Sequence[Any]
    state_parameters: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronType:
    """One kind of neuron.

    Attributes:
        name: Unique; stored in files.
        parameters: Names of a neuron's own parameters. None of them for the point type, whose bias and activation
            every neuron has a place for.
        state: Names of what it remembers from step to step; zeros where an episode begins.
        is_recurrent: Whether gradients flow through its state. If not, the state before a step is data.
        step: ``(x, state, parameters, maths) -> (h, state after)``; None for the point type only. ``state`` and
            ``parameters`` are sequences of arrays or tensors that broadcast against ``x``.
        initial: ``(rng, n) -> [n, K]`` parameters of new neurons; None: zeros.
        jacobian: Derivatives of ``step``. Types without one learn through PyTorch's autograd, which is slower.
        input_parameters: Pairs (index of the parameter that multiplies x, index of the one added to it), for every
            place where x enters ``step``, if it enters only as ``u * x + b``. With them a constant added to x can be
            folded into the parameters (merging and pruning need this). None: it cannot.
        bounded: Whether ``|h| <= 1`` always.
        recurrent_export: How ``optix_core.export`` runs it: ``"gru"``, ``"lstm"`` or ``"morph"``; None: not at all.
    """

    name: str
    parameters: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    is_recurrent: bool = False
    step: Callable[[Any, Any, Any, Any], tuple[Any, State]] | None = None
    initial: Callable[[np.random.Generator, int], Array] | None = None
    jacobian: Jacobian | None = None
    input_parameters: tuple[tuple[int, int], ...] | None = None
    bounded: bool = False
    recurrent_export: str | None = None

    def __post_init__(self) -> None:
        if self.step is None and (self.parameters or self.state):
            raise ValueError(f"neuron type {self.name!r} has parameters or state but no formula")

    @property
    def is_point(self) -> bool:
        """Whether it is an activation of weighted input plus bias."""
        return self.step is None


_TYPES: dict[str, NeuronType] = {}


def register_neuron_type(added: NeuronType, *, replace: bool = False) -> NeuronType:
    """Make a type known under its name, for graphs made or loaded from then on.

    Raises:
        PluginConflict: The name is taken by another type, and ``replace`` is not given.
    """
    _built_in()
    if not replace and _TYPES.get(added.name, added) is not added:
        raise PluginConflict(f"there is a neuron type {added.name!r} already; give yours another name")
    _TYPES[added.name] = added
    return added


def neuron_type(name: str) -> NeuronType:
    """The type of that name: built in, registered, or of an installed plugin (hook ``optix_neuron_types``).

    Raises:
        ValueError: There is none.
        PluginError: A plugin has it, but it cannot be made.
    """
    _built_in()
    found = _TYPES.get(name)
    return _of_plugin(name) if found is None else found


def _of_plugin(name: str) -> NeuronType:
    from optix_core.plugins.lookup import create
    from optix_core.plugins.registry import default_registry

    try:
        component = default_registry().neuron_type(name)
    except PluginNotFound as error:
        raise ValueError(
            f"unknown neuron type {name!r}; there are {', '.join(_TYPES)}. Install the plugin that has it, or "
            "register it (optix_neuroevo.register_neuron_type) before a graph that has it is made or loaded"
        ) from error
    made = create(component, (), {})
    if not isinstance(made, NeuronType) or made.name != name:
        raise PluginBroken(
            f"the factory of neuron type {name!r} made {made!r}, not a NeuronType of that name"
        )
    return register_neuron_type(made)


def _of_a_plugin(name: str) -> NeuronType | None:
    """The type that a plugin offers under that name (hook ``optix_neuron_types``), made known; None if none does."""
    from optix_core.plugins.lookup import create
    from optix_core.plugins.registry import default_registry

    offered = [c for c in default_registry().neuron_types() if c.spec.name == name]
    if not offered:
        return None
    return register_neuron_type(create(default_registry().neuron_type(name), (), {}))


def neuron_types() -> Mapping[str, NeuronType]:
    """All known types by name."""
    _built_in()
    return dict(_TYPES)


def _built_in() -> None:
    if not _TYPES:
        from optix_neuroevo.neurons.builtin import BUILT_IN

        _TYPES.update({known.name: known for known in BUILT_IN})
