"""A graph as plain data and arrays, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint
from optix_core.export.archive import write_whole
from optix_core.state import State
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.state_layout import StateMigration
from optix_neuroevo.neurons.types import neuron_type

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

FORMAT = 1
_KEY = "optix-neuron-graph"


def state_of(graph: NeuronGraph) -> State:
    """See :meth:`NeuronGraph.state_dict`."""
    types = {name: list(neuron_type(name).parameters) for name in graph.type_names}
    return {
        "format": FORMAT,
        "dale_mode": graph.dale_mode,
        "dtype": str(graph.dtype),
        "version": graph.version,
        "next_uid": graph._next_uid,
        "next_position": graph._next_position,
        "types": list(graph.type_names),
        "type_parameters": types,
        "regions": list(graph.region_names),
        "neuron_ids": [graph._neuron_name.get(s, "") for s in range(graph.neurons.capacity)],
        "edge_ids": [graph._edge_name.get(s, "") for s in range(graph.edges.capacity)],
        "neurons": graph.neurons.copy_arrays(),
        "edges": graph.edges.copy_arrays(),
        "parameters": {name: array.values.copy() for name, array in graph.parameter_arrays.items()},
        "memory": graph.memory,
        "rng": dict(graph.rng.bit_generator.state),
    }


def restore(graph: NeuronGraph, state: Mapping[str, Any]) -> None:
    """See :meth:`NeuronGraph.load_state_dict`; the caller undoes it on an error."""
    if state.get("format") != FORMAT:
        raise IncompatibleCheckpoint(
            f"neuron graph format {state.get('format')!r}; this version reads format {FORMAT}"
        )
    for name, parameters in state["type_parameters"].items():
        if list(neuron_type(name).parameters) != list(parameters):
            raise IncompatibleCheckpoint(
                f"neuron type {name!r} has parameters {neuron_type(name).parameters} here, but had "
                f"{tuple(parameters)} when the graph was stored"
            )
    layout = graph.state_layout()
    before = graph.neurons.alive.copy(), graph.edges.alive.copy()
    names = {key: set(ids) for key, ids in (("n", graph._neuron_slot), ("e", graph._edge_slot))}
    arrays = {name: np.asarray(values) for name, values in state["parameters"].items()}
    n, e = len(state["neurons"]["alive"]), len(state["edges"]["alive"])
    for name, values in arrays.items():
        if len(values) != (e if name == "theta" else n):
            raise IncompatibleCheckpoint(f"{name} has {len(values)} slots; the structure has {n} and {e}")
    unused = [name for name in graph.parameter_arrays if name not in arrays]
    for name in unused:  # a parameter of a type that the state does not know stays, empty
        arrays[name] = np.zeros((n, *graph.parameter_arrays[name].values.shape[1:]), graph.dtype)
    saved = {
        "neurons": state["neurons"],
        "edges": state["edges"],
        "parameters": arrays,
        "types": [str(t) for t in state["types"]],
        "regions": [str(r) for r in state["regions"]],
        "neuron_slot": {str(v): s for s, v in enumerate(state["neuron_ids"]) if state["neurons"]["alive"][s]},
        "edge_slot": {str(v): s for s, v in enumerate(state["edge_ids"]) if state["edges"]["alive"][s]},
        "position": max(int(state["next_position"]), graph._next_position),
        "uid": max(int(state["next_uid"]), graph._next_uid),
        "rng": dict(state["rng"]),
    }
    graph.dale_mode, graph.dtype = str(state["dale_mode"]), np.dtype(str(state["dtype"]))
    graph._memory, graph._fast = None, None
    graph._restore(saved)
    graph.version = max(graph.version, int(state["version"])) + 1
    graph.memory = np.asarray(state["memory"])
    _tell(graph, layout, before[0], before[1], names)


def _tell(graph: NeuronGraph, layout: Any, neurons: Any, edges: Any, names: dict[str, set[str]]) -> None:
    """Listeners learn that everything was replaced."""
    now_n, now_e = graph.neurons.slots(), graph.edges.slots()
    old_n, old_e = np.flatnonzero(neurons), np.flatnonzero(edges)
    own = [name for name in graph.parameter_arrays if name not in {"theta", "bias"}]
    delta = GraphDelta(
        operation="load_state_dict",
        version=graph.version,
        neurons_added=tuple(set(graph._neuron_slot) - names["n"]),
        neurons_removed=tuple(names["n"] - set(graph._neuron_slot)),
        edges_added=tuple(set(graph._edge_slot) - names["e"]),
        edges_removed=tuple(names["e"] - set(graph._edge_slot)),
        added={"theta": now_e, "bias": now_n, **dict.fromkeys(own, now_n)},
        removed={"theta": old_e, "bias": old_n, **dict.fromkeys(own, old_n)},
        changed={},
        capacity={name: len(array.values) for name, array in graph.parameter_arrays.items()},
        migration=StateMigration.by_key(layout, graph.state_layout()),
    )
    for listener in list(graph._listeners):
        listener(delta)


def save_graph(graph: NeuronGraph, path: str | Path) -> None:
    """Write a graph as one safetensors file, whole or not at all; what is no array is JSON in its metadata."""
    state = state_of(graph)
    arrays = {
        f"{table}.{name}": np.ascontiguousarray(array)
        for table in ("neurons", "edges", "parameters")
        for name, array in state[table].items()
    }
    arrays["memory"] = state["memory"]
    rest = {k: v for k, v in state.items() if k not in {"neurons", "edges", "parameters", "memory"}}
    text = json.dumps(rest, allow_nan=False)
    write_whole(path, safetensors.numpy.save(arrays, metadata={_KEY: text}))


def load_graph(path: str | Path) -> NeuronGraph:
    """Read what :func:`save_graph` wrote. Nothing in the file can run code.

    Raises:
        CorruptCheckpoint: The file is damaged, or holds no graph.
        IncompatibleCheckpoint: Its format or neuron types are not known here.
    """
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

    data = Path(path).read_bytes()
    try:
        arrays = safetensors.numpy.load(data)
        opened: Any = safetensors.safe_open(str(path), framework="numpy")
        with opened as file:
            text = (file.metadata() or {}).get(_KEY)
        rest: Any = None if text is None else json.loads(text)
    except (safetensors.SafetensorError, ValueError) as error:
        raise CorruptCheckpoint(f"{path} is not a readable graph file: {error}") from error
    if not isinstance(rest, dict):
        raise CorruptCheckpoint(f"{path} is a safetensors file, but holds no neuron graph")
    state: dict[str, Any] = {**rest, "neurons": {}, "edges": {}, "parameters": {}}
    for name, array in arrays.items():
        table, _, column = name.partition(".")
        if column:
            state[table][column] = array
        else:
            state[table] = array
    return NeuronGraph.from_state(state)
