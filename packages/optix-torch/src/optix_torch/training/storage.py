"""Modules and optimizers as plain arrays, and back, with a check before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.agents.weights import Arrays
from optix_core.errors import IncompatibleCheckpoint
from optix_core.state import State


def module_arrays(module: nn.Module) -> Arrays:
    """Copies of all parameters and buffers by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def load_module(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays that :func:`~optix_core.agents.weights.require_same` has accepted into the module's own memory."""
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


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


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().copy()
    return list(value) if isinstance(value, list | tuple) else value


def _tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _like(own: Any, value: Any) -> Any:
    """``value`` in the form in which the optimizer keeps it: tuples come back from storage as lists."""
    return tuple(value) if isinstance(own, tuple) else _tensor(value)
