"""A directed graph of scalar neurons whose structure may change while it acts and learns.

One step computes ``h_v(t) = f_v(b_v + sum of w h_u(t - d))`` over the edges ``(u -> v, w, d)`` that enter v. Edges of
delay 0 are resolved within the step, so they must not form a cycle; past activations are zero before an episode
begins. An input neuron's activation is its element of the observation. What a neuron of another type does with its
weighted input is said in :mod:`optix_neuroevo.neurons`.

Everything lies in arrays by *slot*: a removed neuron or edge leaves a free slot, nothing ever moves, and parameters
that PyTorch trains share memory with the arrays that numpy acts with. The *plan* (what is computed in which order) is
made anew only after the structure has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.state import State
from optix_neuroevo.graph.construction import BuildableGraph
from optix_neuroevo.graph.structure import DALE_MODES, HIDDEN, INPUT, OUTPUT, ROLES, Array

if TYPE_CHECKING:
    from optix_neuroevo.plan.compile import Plan

__all__ = ["DALE_MODES", "HIDDEN", "INPUT", "OUTPUT", "ROLES", "NeuronGraph"]


class NeuronGraph(BuildableGraph):
    """A graph of neurons; see the module's text for what it computes.

    Args:
        dale_mode: ``"clamp"``: weights are stored as they are, and :meth:`enforce_dale` moves them into their range
            after a gradient step. ``"softplus"``: weights of excitatory and inhibitory neurons are stored so that
            they have their sign always; see :mod:`optix_neuroevo.graph.weights`.
        dtype: float32, or float64 for tests of gradients.
        seed: Of the initial parameters of neurons that have any; None draws one from the operating system.

    Attributes:
        dale_mode: As given.
        dtype: As given.
        version: Grows with every change of structure, and with every changed value that an operation made.
        neurons: Neuron slots.
        edges: Edge slots.
        parameter_arrays: ``"theta"`` ``[edge slots]``, ``"bias"`` ``[neuron slots]``, and for each neuron type with
            parameters its name: ``[neuron slots, K]``.
        rng: What initial parameters are drawn from.

    Raises:
        ValueError: An unknown mode or dtype.
    """

    # --- running ----------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """The compiled plan; made anew only if the structure has changed since the last call."""
        from optix_neuroevo.plan.compile import compile_plan

        return self._cache("plan", lambda: compile_plan(self))

    def compile_forward(self) -> None:
        """Compile now; otherwise the first step after a change does."""
        self.plan()

    def invalidate_compile(self) -> None:
        """Let the next step compile anew. Never needed: the graph knows when its structure has changed."""
        self._hold()
        self._structure += 1

    def forward(self, observation: Any) -> Array:
        """One step of the graph's own environment: observation ``[n_in]`` to outputs ``[n_out]``, a new array.

        The graph keeps this environment's memory; :meth:`reset_state` forgets it.

        Raises:
            ValueError: The observation has another size.
        """
        if self._fast is None or self._fast.structure != self._structure:
            from optix_neuroevo.plan.numpy_step import SingleStepper

            if self._edit is not None:
                raise ConfigError("a graph cannot act inside an edit: its memory follows when the edit ends")
            fast = SingleStepper(self)
            if self._memory is not None:
                fast.set_memory(self._memory)
            self._memory, self._fast = None, fast
        return self._fast.step(observation)

    __call__ = forward

    def step(self, observations: Array, memory: Array) -> tuple[Array, Array]:
        """One step of N environments.

        Args:
            observations: ``[N, n_in]``.
            memory: ``[N, M]`` before this step, zeros where an episode begins; not written to.

        Returns:
            Outputs ``[N, n_out]`` and memory after the step ``[N, M]``; new arrays.

        Raises:
            ValueError: A shape is wrong.
        """
        from optix_neuroevo.plan.numpy_step import stepper_of

        return stepper_of(self, len(observations)).step(observations, memory)

    def reset_state(self) -> None:
        """Forget what the graph's own environment left: an episode begins."""
        self.memory = np.zeros(self.memory_size, self.dtype)

    @property
    def memory(self) -> Array:
        """The own environment's memory ``[M]``; a copy."""
        if self._fast is not None:
            return self._fast.memory()
        return np.zeros(self.memory_size, self.dtype) if self._memory is None else self._memory.copy()

    @memory.setter
    def memory(self, values: Array) -> None:
        if np.shape(values) != (self.memory_size,):
            raise ValueError(f"memory has shape {np.shape(values)}, expected {(self.memory_size,)}")
        if self._fast is not None:
            self._fast.set_memory(np.asarray(values, self.dtype))
        else:
            self._memory = np.array(values, self.dtype)

    def activation_of(self, neuron_id: str) -> float:
        """A neuron's activation in the last :meth:`forward`; 0.0 before the first one since the last change."""
        slot = self.slot_of(neuron_id)
        return 0.0 if self._fast is None else float(self._fast.activation(slot))

    # --- keeping -------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """A copy of everything: structure, parameters, memory of the own environment, generator."""
        from optix_neuroevo.graph.keeping import state_of

        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` described, whatever the graph is now; all or nothing.

        PyTorch parameters stay the same objects. Ids that were used since are not given out again.

        Raises:
            IncompatibleCheckpoint: It is not the state of a graph that this version can read.
        """
        from optix_neuroevo.graph.keeping import restore

        if self._edit is not None:
            raise ConfigError("a graph cannot be loaded inside one of its own edits")
        saved = self._snapshot()
        try:
            restore(self, state)
        except (KeyError, TypeError, ValueError) as error:
            self._restore(saved)
            if isinstance(error, IncompatibleCheckpoint):
                raise
            raise IncompatibleCheckpoint(f"this is not the state of a neuron graph: {error!r}") from error

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NeuronGraph:
        """A new graph from what :meth:`state_dict` described."""
        graph = cls(str(state.get("dale_mode", "clamp")), dtype=str(state.get("dtype", "float32")), seed=0)
        graph.load_state_dict(state)
        return graph

    def copy(self) -> NeuronGraph:
        """An independent graph that is equal to this one; listeners are not copied."""
        return NeuronGraph.from_state(self.state_dict())

    def to_networkx(self) -> Any:
        """The graph as a ``networkx.MultiDiGraph``; see :func:`optix_neuroevo.export.to_networkx`."""
        from optix_neuroevo.export.drawing import to_networkx

        return to_networkx(self)
