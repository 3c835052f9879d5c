"""A policy in one file, and how to act with it: numpy is all that is needed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from optix_core.errors import CorruptCheckpoint, NumericalDivergence, SpaceError
from optix_core.export.graph import PolicyGraph
from optix_core.export.numpy_ops import OPERATIONS, Op
from optix_core.rl.masking import split_masks
from optix_core.rl.structured import leaves

_KEY = "optix-policy"


class PolicyArchive:
    """A trained policy that acts greedily without the framework it was trained with.

    ::

        policy = PolicyArchive.load("policy.safetensors")
        action = policy.act(observation)

    A recurrent policy remembers from one :meth:`act` to the next; call :meth:`reset` when an episode starts.

    Args:
        graph: What it computes.

    Attributes:
        graph: As given.
    """

    def __init__(self, graph: PolicyGraph) -> None:
        graph.check()
        self.graph = graph
        self._steps = [
            (
                OPERATIONS[node.op],
                node.inputs,
                node.outputs,
                node.attributes,
                {role: graph.arrays[name] for role, name in node.weights.items()},
            )
            for node in graph.nodes
        ]
        self._memory = self.initial_memory(1)

    @classmethod
    def load(cls, path: str | Path) -> PolicyArchive:
        """Read what :meth:`save` wrote. Nothing in the file can run code.

        Raises:
            FileNotFoundError: There is no such file.
            CorruptCheckpoint: It is damaged, or no policy.
            IncompatibleCheckpoint: Another version of optix-core wrote it in a format that this one does not know.
        """
        data = Path(path).read_bytes()
        try:
            arrays = dict(safetensors.numpy.load(data))
            opened: Any = safetensors.safe_open(str(path), framework="numpy")
            with opened as file:
                metadata: dict[str, str] = file.metadata() or {}
            text = metadata.get(_KEY)
            document: Any = None if text is None else json.loads(text)
        except (safetensors.SafetensorError, ValueError) as error:
            raise CorruptCheckpoint(f"{path} is not a readable policy file: {error}") from error
        if not isinstance(document, dict):
            raise CorruptCheckpoint(
                f"{path} is a safetensors file, but holds no policy; optix export writes one"
            )
        return cls(PolicyGraph.from_document(cast("dict[str, Any]", document), arrays))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all; the description is in its metadata."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.graph.arrays.items()}
        text = json.dumps(self.graph.document(), allow_nan=False)
        write_whole(path, safetensors.numpy.save(arrays, metadata={_KEY: text}))

    def initial_memory(self, n: int) -> NDArray[np.float32]:
        """Memory ``[n, M]`` at the start of an episode: zeros."""
        return np.zeros((n, self.graph.memory_size), np.float32)

    def reset(self) -> None:
        """Forget; call it when an episode starts."""
        self._memory = self.initial_memory(1)

    def act(self, observation: Any) -> Any:
        """The greedy action for one observation, as the environment gave it (a dict or tuple where its space is one).

        Returns:
            An element of the action space: an ``int`` for Discrete, else an array.

        Raises:
            NumericalDivergence: The action is not finite.
            SpaceError: The observation does not fit.
        """
        values = self.values({name: array[None] for name, array in self._named(observation).items()})
        if self.graph.memory_size:
            self._memory = values["next_memory"]
        action = values["action"][0]
        return int(action) if not self.graph.action_shape and action.dtype.kind in "iu" else action

    def act_batch(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Greedy actions ``[N, *act]`` for observations ``[N, *obs]`` (structured for Dict and Tuple); not recurrent.

        Raises:
            TypeError: The policy has a memory: use :meth:`values`, which takes and gives it.
        """
        if self.graph.memory_size:
            raise TypeError("this policy has a memory; pass it to values(): values(inputs, memory=...)")
        return self.values(inputs_of(observations))["action"]

    def values(
        self, inputs: Mapping[str, NDArray[Any]], *, memory: NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """All outputs of the graph for a batch.

        Args:
            inputs: Arrays ``[N, ...]`` by the names in ``graph.inputs``. A missing ``action_mask`` allows everything.
            memory: ``[N, M]`` before this step; without it, the one that :meth:`act` keeps.

        Raises:
            NumericalDivergence: The action is not finite.
            SpaceError: An input is missing or has the wrong shape.
        """
        known = self._checked(inputs, memory)
        for operation, taken, given, attributes, weights in self._steps:
            found = operation(Op([known[name] for name in taken], attributes, weights))
            known.update(zip(given, found, strict=True))
        action = known["action"]
        if not np.isfinite(action).all():
            raise NumericalDivergence("the policy gave an action that is not finite; is the observation?")
        known["action"] = action.reshape(len(action), *self.graph.action_shape).astype(
            self.graph.action_dtype
        )
        return {name: known[name] for name in self.graph.outputs}

    def _checked(
        self, inputs: Mapping[str, NDArray[Any]], memory: NDArray[Any] | None
    ) -> dict[str, NDArray[Any]]:
        known = {name: np.asarray(array) for name, array in inputs.items()}
        n = len(next(iter(known.values()))) if known else 0
        for wanted in self.graph.inputs:
            if wanted.name == "memory":
                known["memory"] = self._memory if memory is None else np.asarray(memory, np.float32)
            elif wanted.name == "action_mask" and wanted.name not in known:
                known["action_mask"] = np.ones((n, *wanted.shape), np.bool_)
            found = known.get(wanted.name)
            if found is None or found.shape != (n, *wanted.shape):
                shape = "missing" if found is None else f"of shape {found.shape}"
                raise SpaceError(f"input {wanted.name} is {shape}; expected {(n, *wanted.shape)}")
        return known

    def _named(self, observation: Any) -> dict[str, NDArray[Any]]:
        """The parts of one observation by name."""
        names = [i.name for i in self.graph.inputs if i.name not in {"memory", "action_mask"}]
        if names == ["observation"] and not isinstance(observation, Mapping):
            return {"observation": np.asarray(observation)}
        found: dict[str, NDArray[Any]] = {}
        _collect(observation, (), found)
        return found


def inputs_of(observations: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Observations ``[N, *obs]``, with masks or without, as the named inputs of a graph."""
    plain, masks = split_masks(observations)
    found = {".".join(path) or "observation": np.ascontiguousarray(a) for path, a in leaves(plain)}
    if masks is not None:
        found["action_mask"] = masks
    return found


def write_whole(path: str | Path, data: bytes) -> None:
    """Replace ``path`` by a file with these bytes, or leave everything as it was."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _collect(value: Any, path: tuple[str, ...], found: dict[str, NDArray[Any]]) -> None:
    if isinstance(value, Mapping):
        for name, part in value.items():  # pyright: ignore[reportUnknownVariableType]
            _collect(part, (*path, str(name)), found)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, tuple):
        for index, part in enumerate(value):  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
            _collect(part, (*path, str(index)), found)
    else:
        found[".".join(path) or "observation"] = np.asarray(value)
