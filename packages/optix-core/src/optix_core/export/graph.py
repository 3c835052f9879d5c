"""A trained policy as data: which operations, on which arrays, lead from an observation to an action.

A :class:`PolicyGraph` knows no framework. Whatever describes itself as one can be run by numpy
(:mod:`optix_core.export.numpy_ops`) and written as ONNX (:mod:`optix_core.export.onnx_ops`); each operation is one
function in each of these modules, with the meaning given in :data:`OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import IncompatibleCheckpoint
from optix_core.rl.spaces import SpaceInfo, describe_space

FORMAT = 1

OPERATIONS: Mapping[str, str] = {
    "cast": "[N, ...] as float32",
    "scale": "x / divisor",
    "normalize": "clip((x - mean) / std, -clip, clip), subtracted in float64, as float32",
    "flatten": "[N, ...] to [N, F]",
    "channels_first": "[N, H, W, C] to [N, C, H, W]",
    "one_hot": "[N, *k] integers, less start, to [N, sum(n)] of zeros and ones",
    "conv2d": "weight [O, C, h, w], bias [O], stride, padding",
    "linear": "W x + b with weight [out, in], bias [out]",
    "activation": "name: tanh, relu, elu (alpha 1), sigmoid, gelu (exact), silu, softplus",
    "layer_norm": "over the last axis: weight, bias, epsilon",
    "concat": "along the last axis",
    "slice": "x[:, start:stop]",
    "recurrent": "inputs x [N, I], memory [N, M]; gives y [N, H], memory after it: see optix_core.acting.recurrent",
    "dueling": "inputs value [N, K], advantage [N, A K]: value + advantage - mean over actions, [N, A K]",
    "expectation": "[N, A K] logits of K atoms, softmax over atoms, times atoms [K]: [N, A]",
    "mask": "inputs x [N, A], mask [N, A] bool: x where allowed, else minus infinity",
    "argmax": "[N, A] to [N] int64, plus start",
    "multi_argmax": "[N, sum(nvec)] to [N, K] int64, plus start [K]",
    "positive": "[N, K] to int8: 1 where above 0",
    "to_box": "[N, A] in [-1, 1]: clipped to unit_low, unit_high, centre + half x in float64, clipped to low, high",
}
"""What each operation computes; N is the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation.

    Attributes:
        op: A name of :data:`OPERATIONS`.
        inputs: Names of the values it takes.
        outputs: Names of the values it gives.
        attributes: Plain data.
        weights: What the operation calls an array, to that array's name in the graph.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weights: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One array that the policy is given: an observation, a part of one, an action mask, or memory.

    Attributes:
        name: Its name; parts of an observation are joined by dots.
        dtype: Its dtype.
        shape: Of one element, without the batch axis.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGraph:
    """From observations to greedy actions.

    Attributes:
        inputs: What it is given; memory, if any, is the input ``memory``.
        nodes: Operations in an order in which they can be computed.
        outputs: Names of the values of interest; always ``action``, and ``next_memory`` if there is memory.
        arrays: Weights by name.
        action_dtype: Of ``action``.
        action_shape: Of one action.
        memory_size: Length of the memory of a recurrent policy, zeros where an episode starts; 0 for others.
        info: Where the policy came from, plain data.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]
    action_dtype: str
    action_shape: tuple[int, ...]
    memory_size: int = 0
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def document(self) -> dict[str, Any]:
        """Everything but the arrays, as plain data."""
        return {
            "format": FORMAT,
            "inputs": [{"name": i.name, "dtype": i.dtype, "shape": list(i.shape)} for i in self.inputs],
            "nodes": [
                {
                    "op": node.op,
                    "inputs": list(node.inputs),
                    "outputs": list(node.outputs),
                    "attributes": dict(node.attributes),
                    "weights": dict(node.weights),
                }
                for node in self.nodes
            ],
            "outputs": list(self.outputs),
            "action_dtype": self.action_dtype,
            "action_shape": list(self.action_shape),
            "memory_size": self.memory_size,
            "info": dict(self.info),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PolicyGraph:
        """The graph that :meth:`document` described.

        Raises:
            IncompatibleCheckpoint: Another format, an unknown operation, or something is missing.
        """
        if document.get("format") != FORMAT:
            raise IncompatibleCheckpoint(
                f"policy format {document.get('format')!r}; this version of optix-core reads format {FORMAT}"
            )
        try:
            graph = cls(
                inputs=tuple(
                    Input(name=i["name"], dtype=i["dtype"], shape=tuple(i["shape"]))
                    for i in document["inputs"]
                ),
                nodes=tuple(
                    Node(
                        op=n["op"],
                        inputs=tuple(n["inputs"]),
                        outputs=tuple(n["outputs"]),
                        attributes=dict(n["attributes"]),
                        weights=dict(n["weights"]),
                    )
                    for n in document["nodes"]
                ),
                outputs=tuple(document["outputs"]),
                arrays=dict(arrays),
                action_dtype=str(document["action_dtype"]),
                action_shape=tuple(document["action_shape"]),
                memory_size=int(document["memory_size"]),
                info=dict(document["info"]),
            )
            graph.check()
        except (KeyError, TypeError, ValueError) as error:
            raise IncompatibleCheckpoint(f"this is not a complete policy: {error!r}") from error
        return graph

    def check(self) -> None:
        """Raise unless every operation is known and everything that is used exists.

        Raises:
            ValueError: Names what is missing.
        """
        known = {i.name for i in self.inputs}
        for node in self.nodes:
            if node.op not in OPERATIONS:
                raise ValueError(f"unknown operation {node.op!r}")
            lacking = [name for name in node.inputs if name not in known]
            lacking += [name for name in node.weights.values() if name not in self.arrays]
            if lacking:
                raise ValueError(f"{node.op} uses {lacking[0]!r}, which nothing gives")
            known.update(node.outputs)
        wanted = {"action", *self.outputs, *(["next_memory"] if self.memory_size else [])}
        if not wanted <= known:
            raise ValueError(f"nothing gives {min(wanted - known)!r}")


class GraphBuilder:
    """Puts a :class:`PolicyGraph` together, operation by operation; values are known by the names it returns."""

    def __init__(self) -> None:
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []
        self._arrays: dict[str, NDArray[Any]] = {}
        self._memory: list[tuple[str, str, int]] = []  # (value before, value after, width)

    def observations(self, space: Any) -> dict[tuple[str, ...], tuple[str, SpaceInfo]]:
        """Declare the observation as input: every part's path, with its value's name and space; ``()`` for a plain one.

        A part is called by its path joined with dots, a plain observation ``observation``.
        """
        info = space if isinstance(space, SpaceInfo) else describe_space(space)
        return self._parts(info, ())

    def add(
        self,
        op: str,
        *inputs: str,
        weights: Mapping[str, NDArray[Any]] | None = None,
        **attributes: Any,
    ) -> str:
        """Append an operation with one output, and return that output's name; weights are copied."""
        return self.add_many(op, *inputs, outputs=1, weights=weights, **attributes)[0]

    def add_many(
        self,
        op: str,
        *inputs: str,
        outputs: int,
        weights: Mapping[str, NDArray[Any]] | None = None,
        **attributes: Any,
    ) -> tuple[str, ...]:
        """Append an operation with several outputs."""
        number = len(self._nodes)
        given = tuple(f"{op}_{number}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs))
        names: dict[str, str] = {}
        for role, array in (weights or {}).items():
            names[role] = f"{op}_{number}.{role}"
            self._arrays[names[role]] = np.array(array)
        node = Node(
            op=op,
            inputs=tuple(inputs),
            outputs=given,
            attributes={k: _plain(v) for k, v in attributes.items()},
            weights=names,
        )
        self._nodes.append(node)
        return given

    def mlp(
        self,
        x: str,
        layers: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        activations: Sequence[str],
    ) -> str:
        """Linear layers (weight, bias), each followed by its activation (``"linear"``: none)."""
        for (weight, bias), activation in zip(layers, activations, strict=True):
            x = self.add("linear", x, weights={"weight": weight, "bias": bias})
            if activation != "linear":
                x = self.add("activation", x, name=activation)
        return x

    def memory(self, width: int) -> str:
        """A piece of the memory, as it was before this step; :meth:`remember` says what it becomes."""
        start = sum(piece[2] for piece in self._memory)
        before = self.add("slice", "memory", start=start, stop=start + width)
        self._memory.append((before, "", width))
        return before

    def remember(self, before: str, after: str) -> None:
        """Say what a piece of memory from :meth:`memory` is after this step."""
        self._memory = [(b, after if b == before else a, w) for b, a, w in self._memory]

    def action_mask(self, n_actions: int) -> str:
        """Declare an action mask as input ``action_mask``, ``bool [N, n_actions]``."""
        self._inputs.append(Input(name="action_mask", dtype="bool", shape=(n_actions,)))
        return "action_mask"

    def finish(
        self,
        action: str,
        *,
        action_space: SpaceInfo,
        named: Mapping[str, str] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> PolicyGraph:
        """The finished graph.

        Args:
            action: The value that is the action.
            action_space: Its space.
            named: Further outputs by the name they shall have, for example ``{"logits": value}``.
            info: Where the policy came from.
        """
        renamed = {action: "action", **{value: name for name, value in (named or {}).items()}}
        size = sum(width for _, _, width in self._memory)
        if size:
            self._inputs.append(Input(name="memory", dtype="float32", shape=(size,)))
            renamed[self.add("concat", *(after for _, after, _ in self._memory))] = "next_memory"
        nodes = tuple(
            Node(
                op=n.op,
                inputs=tuple(renamed.get(v, v) for v in n.inputs),
                outputs=tuple(renamed.get(v, v) for v in n.outputs),
                attributes=n.attributes,
                weights=n.weights,
            )
            for n in self._nodes
        )
        assert action_space.shape is not None
        assert action_space.dtype is not None
        graph = PolicyGraph(
            inputs=tuple(self._inputs),
            nodes=nodes,
            outputs=("action", *(named or {}), *(["next_memory"] if size else [])),
            arrays=self._arrays,
            action_dtype=str(action_space.dtype),
            action_shape=tuple(action_space.shape),
            memory_size=size,
            info=dict(info or {}),
        )
        graph.check()
        return graph

    def _parts(self, info: SpaceInfo, path: tuple[str, ...]) -> dict[tuple[str, ...], tuple[str, SpaceInfo]]:
        if info.fields:
            found: dict[tuple[str, ...], tuple[str, SpaceInfo]] = {}
            for name, part in info.fields:
                found |= self._parts(part, (*path, name))
            return found
        assert info.shape is not None
        assert info.dtype is not None
        name = ".".join(path) or "observation"
        self._inputs.append(Input(name=name, dtype=str(info.dtype), shape=tuple(info.shape)))
        return {path: (name, info)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return cast("NDArray[Any]", value).tolist()
    if isinstance(value, np.generic):
        return cast("Any", value).item()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    return value
