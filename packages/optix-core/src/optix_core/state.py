"""How anything that changes during training says what it is made of.

A *state* is a nested ``dict`` with string keys whose leaves are ``None``, ``bool``, ``int``, ``float``,
``str``, numpy arrays, or lists and tuples of such leaves. Nothing else: checkpoints store arrays as
safetensors and the rest
as JSON, so that no file of ours can ever run code. Infinite and NaN floats are allowed as leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

State = dict[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """Something that can be stored in a checkpoint and continued from it."""

    def state_dict(self) -> State:
        """A copy of everything that determines future behaviour; later changes do not reach it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``; all or nothing: on an error the object is left as it was."""
        ...


def generator_state(rng: np.random.Generator) -> State:
    """The bit generator's state of ``rng`` as plain data."""
    return dict(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Set ``rng`` to a state from :func:`generator_state`.

    Raises:
        ValueError: The state belongs to another kind of bit generator.
    """
    rng.bit_generator.state = dict(state)


def arrays_in(state: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """All array leaves of ``state`` as ``{"a/b/c": array}``; list elements count by index."""
    found: dict[str, NDArray[Any]] = {}
    for key, value in state.items():
        path = f"{prefix}{key}"
        if isinstance(value, np.ndarray):
            found[path] = value
        elif isinstance(value, Mapping):
            found.update(arrays_in(value, f"{path}/"))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list | tuple):
            found.update(arrays_in({str(i): v for i, v in enumerate(value)}, f"{path}/"))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return found
