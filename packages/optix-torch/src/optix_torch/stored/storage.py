"""Modules and optimizers as plain arrays, and back, with a check before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint, NonFiniteState
from optix_core.state import State

Arrays = dict[str, NDArray[Any]]


def module_arrays(module: nn.Module) -> Arrays:
    """Copies of all parameters and buffers by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def load_module(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays that :func:`require_same` has accepted into the module's own memory."""
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def require_same(expected: Mapping[str, Any], found: Mapping[str, Any], *, owner: str) -> None:
    """Raise unless both have the same names and, where values are arrays, the same shapes.

    Raises:
        IncompatibleCheckpoint: With the first five differences.
    """
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name} is not expected" for name in found if name not in expected]
    for name in expected:
        if name in found and np.shape(expected[name]) != np.shape(found[name]):
            differences.append(
                f"{name} has shape {list(np.shape(found[name]))}, expected {list(np.shape(expected[name]))}"
            )
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise IncompatibleCheckpoint(
            f"these weights do not fit {owner}: {'; '.join(differences[:5])}{more}. The agent was left as it was; "
            "build it with the networks (hidden_sizes, activation, spaces) that the weights were saved from."
        )


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """The optimizer's state as plain data: arrays for tensors, lists for tuples."""
    state = optimizer.state_dict()
    return {
        "state": {
            str(index): {name: _plain(value) for name, value in entry.items()}
            for index, entry in state["state"].items()
        },
        "param_groups": [
            {name: _plain(value) for name, value in group.items()} for group in state["param_groups"]
        ],
    }


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], *, owner: str) -> None:
    """Continue from :func:`optimizer_state`; refused as a whole if it belongs to another optimizer or other parameters.

    Raises:
        IncompatibleCheckpoint: Groups, parameters or the shapes of their moments differ.
    """
    own, given = optimizer.state_dict()["param_groups"], list(state["param_groups"])
    if [list(g["params"]) for g in own] != [list(g["params"]) for g in given]:
        raise IncompatibleCheckpoint(
            f"the optimizer state has other parameter groups than the optimizer of {owner}"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        shape = tuple(parameters[int(index)].shape)
        for name, value in entry.items():
            if isinstance(value, np.ndarray) and value.ndim and value.shape != shape:
                raise IncompatibleCheckpoint(
                    f"the optimizer state {name} of parameter {index} has shape {list(value.shape)}; {owner} has "
                    f"{list(shape)}"
                )
        moments[int(index)] = {name: _tensor(value) for name, value in entry.items()}
    groups = [
        {name: _like(mine.get(name), value) for name, value in theirs.items()}
        for mine, theirs in zip(own, given, strict=True)
    ]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def write_tensors(path: str, arrays: Mapping[str, NDArray[Any]], *, kind: str) -> None:
    """Write arrays to ``path`` as safetensors.

    Raises:
        NonFiniteState: One of them holds NaN or infinity; nothing is written.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFiniteState(f"{name} holds NaN or infinity, so the weights were not written to {path}")
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    Path(path).write_bytes(safetensors.numpy.save(contiguous, metadata={"optix": kind}))


def read_tensors(path: str, *, kind: str) -> Arrays:
    """Read what :func:`write_tensors` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        CorruptCheckpoint: It is no safetensors file, or a damaged one.
        IncompatibleCheckpoint: It holds the weights of another kind of agent.
    """
    data = Path(path).read_bytes()
    try:
        arrays = dict(safetensors.numpy.load(data))
        with safetensors.safe_open(path, framework="numpy") as file:
            found = (file.metadata() or {}).get("optix")
    except safetensors.SafetensorError as error:
        raise CorruptCheckpoint(f"{path} is not a readable safetensors file: {error}") from error
    if found != kind:
        raise IncompatibleCheckpoint(
            f"{path} holds the weights of {found or 'something else'}, not of {kind}"
        )
    return arrays


def mean_of(saved: list[Arrays], *, owner: str) -> Arrays:
    """The element-wise mean, in float64 and cast back; integer arrays are taken from the first.

    Raises:
        IncompatibleCheckpoint: Names or shapes differ.
        ValueError: There is nothing to average.
    """
    if not saved:
        raise ValueError("average_weights needs at least one path")
    for other in saved[1:]:
        require_same(saved[0], other, owner=owner)
    return {
        name: np.mean([arrays[name] for arrays in saved], axis=0, dtype=np.float64).astype(first.dtype)
        if first.dtype.kind == "f"
        else first
        for name, first in saved[0].items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().copy()
    return list(value) if isinstance(value, list | tuple) else value


def _tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _like(own: Any, value: Any) -> Any:
    """``value`` in the form in which the optimizer keeps it: tuples come back from storage as lists."""
    return tuple(value) if isinstance(own, tuple) else _tensor(value)
