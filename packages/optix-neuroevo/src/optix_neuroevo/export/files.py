"""A bare graph as a file whose outputs are the graph's outputs; compared with the graph before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core.export import GraphBuilder, PolicyGraph
from optix_core.export import export_numpy as core_numpy
from optix_core.export import export_onnx as core_onnx
from optix_core.rl.spaces import describe_space
from optix_neuroevo.export.describing import describe_graph

if TYPE_CHECKING:
    from optix_core.export.exporters import Verification
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]


def export_numpy(graph: NeuronGraph, path: str | Path) -> Verification:
    """Write a file that :class:`optix_core.export.PolicyArchive` runs; its ``action`` is the graph's output.

    Raises:
        ConfigError: A neuron type cannot be exported, or the file does not do what the graph does; nothing is written.
    """
    return core_numpy(_Outputs(graph), path)


def export_onnx(graph: NeuronGraph, path: str | Path) -> Verification:
    """Write an ONNX model of one step: ``observation`` and ``memory`` to ``action`` (the outputs) and ``next_memory``.

    ``memory`` ``[N, M]`` is zeros where an episode begins; a graph without memory has neither.

    Raises:
        ConfigError: As :func:`export_numpy`, or the packages onnx and onnxruntime are missing.
    """
    return core_onnx(_Outputs(graph), path)


class _Outputs:
    """A graph as core's exporters see an agent: one whose actions are the outputs."""

    def __init__(self, graph: NeuronGraph) -> None:
        self._graph = graph
        self.memory_size = graph.memory_size
        n_in, n_out = len(graph.input_ids), len(graph.output_ids)
        self._seen = Box(-np.inf, np.inf, (n_in,), np.float32)
        self._given = Box(-np.inf, np.inf, (n_out,), np.float32)

    def policy_graph(self) -> PolicyGraph:
        builder = GraphBuilder()
        ((name, _),) = builder.observations(self._seen).values()
        outputs = describe_graph(builder, self._graph, name)
        info = {
            "made_by": "optix-neuroevo", "n_neurons": self._graph.n_neurons(), "n_edges": self._graph.n_edges(),
        }  # fmt: skip
        return builder.finish(outputs, action_space=describe_space(self._given), info=info)

    def act_batch(self, observations: Array, *, deterministic: bool = True) -> Array:
        del deterministic
        return self._graph.step(observations, np.zeros((len(observations), 0), self._graph.dtype))[0]

    def act_batch_with_memory(
        self, observations: Array, memory: Array, *, deterministic: bool = True
    ) -> tuple[Array, Array]:
        del deterministic
        return self._graph.step(observations, memory)

    def env_actions(self, actions: Array) -> Array:
        return np.asarray(actions, np.float32)
