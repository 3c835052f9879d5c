"""How an agent's parts become files and states, and all or none of them come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optix_core.agents import weights as files
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.streams import Streams
from optix_core.agents.trainable import Trainable
from optix_core.base_agent import BaseAgent
from optix_core.errors import IncompatibleCheckpoint
from optix_core.state import State, Stateful
from optix_core.types import HyperparamSet

FORMAT = 1
_STATISTICS = "observation_normalizer"


class Store:
    """Saves and restores networks, optimizers, normalisers, random streams, hyperparameters and data of one agent.

    Args:
        kind: The agent's class name, checked when something is loaded.
        trainables: Its networks with their optimizers, by name; no two have a module of the same name.
        streams: Its random streams.
        normalizers: That of observations belongs to the weights, because acting needs it.
        parts: What else belongs to its state but not to its weights: target networks, replay, counters. Restored
            last, and in this order, so that a target network is not overwritten by the online one.
    """

    def __init__(
        self,
        kind: str,
        trainables: Mapping[str, Trainable],
        streams: Streams,
        normalizers: Normalizers,
        parts: Mapping[str, Stateful] | None = None,
    ) -> None:
        self._kind, self._trainables = kind, dict(trainables)
        self._parts: dict[str, Stateful | None] = {
            _STATISTICS: normalizers.observation,
            "reward_normalizer": normalizers.reward_part(),
            "streams": streams,
            **(parts or {}),
        }

    def save_weights(self, path: str) -> None:
        """Networks and observation statistics as one safetensors file."""
        files.write_tensors(path, self._weights(), kind=self._kind)

    def load_weights(self, path: str) -> None:
        """Take over one file."""
        self._load_weights(files.read_tensors(path, kind=self._kind))

    def average_weights(self, paths: Sequence[str]) -> None:
        """Take over the element-wise mean of several files; observation statistics are those of the most samples."""
        saved = [files.read_tensors(path, kind=self._kind) for path in paths]
        mean = files.mean_of(saved, owner=self._kind)
        most = max(saved, key=_samples)
        self._load_weights(
            mean | {name: array for name, array in most.items() if name.startswith(_STATISTICS)}
        )

    def state_dict(self, agent: BaseAgent) -> State:
        """Everything that determines what ``agent`` will do."""
        parts = {name: None if part is None else part.state_dict() for name, part in self._parts.items()}
        return {
            "agent": self._kind,
            "format": FORMAT,
            "hyperparams": agent.get_hyperparams().params,
            **{name: trainable.state_dict() for name, trainable in self._trainables.items()},
            **parts,
        }

    def load_state_dict(self, state: Mapping[str, Any], agent: BaseAgent) -> None:
        """Continue from ``state``, or stay as it was and raise.

        Args:
            state: From :meth:`state_dict`.
            agent: Gets the hyperparameters.

        Raises:
            IncompatibleCheckpoint: The state is of another agent, format or architecture.
        """
        found = (state.get("agent"), state.get("format"))
        if found != (self._kind, FORMAT):
            raise IncompatibleCheckpoint(
                f"this state is of {found[0]} in format {found[1]}, expected {self._kind} in format {FORMAT}"
            )
        before = self.state_dict(agent)
        try:
            self._load(state)
            agent.set_hyperparams(HyperparamSet(dict(state["hyperparams"])))
        except Exception as error:
            self._load(before)
            agent.set_hyperparams(HyperparamSet(before["hyperparams"]))
            if isinstance(error, KeyError | TypeError | ValueError) and not isinstance(
                error, IncompatibleCheckpoint
            ):
                raise IncompatibleCheckpoint(
                    f"this is not a complete state of {self._kind}: {error!r}"
                ) from error
            raise

    def _load(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts.items():
            if (part is None) != (state[name] is None):
                own = "has none" if part is None else "has one"
                raise IncompatibleCheckpoint(
                    f"{name}: this agent {own}, the state differs; build it with equal options"
                )
        for name, trainable in self._trainables.items():
            trainable.load_state_dict(state[name], owner=self._kind)
        for name, part in self._parts.items():
            if part is not None:
                part.load_state_dict(state[name])

    def _weights(self) -> files.Arrays:
        weights = self._statistics()
        for trainable in self._trainables.values():
            weights |= trainable.arrays()
        return weights

    def _statistics(self) -> files.Arrays:
        """The observation normaliser's state, numbers as arrays without axes; of each part if there are several."""
        part = self._parts[_STATISTICS]
        return {
            f"{prefix}/{name}": np.asarray(value)
            for prefix, state in _by_part({} if part is None else part.state_dict())
            for name, value in state.items()
        }

    def _load_weights(self, arrays: files.Arrays) -> None:
        files.require_same(self._weights(), arrays, owner=self._kind)
        part = self._parts[_STATISTICS]
        if part is not None:
            own = part.state_dict()
            found = [
                {name: _like(value, arrays[f"{prefix}/{name}"]) for name, value in state.items()}
                for prefix, state in _by_part(own)
            ]
            part.load_state_dict({**own, "statistics": found} if "parts" in own else found[0])
        for trainable in self._trainables.values():
            trainable.load_arrays({name: arrays[name] for name in trainable.arrays()}, owner=self._kind)


def _by_part(state: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The statistics in an observation normaliser's state, each with the prefix of its names in a file."""
    if "parts" not in state:
        return [(_STATISTICS, state)]
    return [
        (f"{_STATISTICS}/{label}", statistics)
        for label, statistics in zip(state["parts"], state["statistics"], strict=True)
    ]


def _samples(arrays: files.Arrays) -> int:
    """How many samples the observation statistics in a file have seen."""
    counts = [a for name, a in arrays.items() if name.startswith(f"{_STATISTICS}/") and name.endswith("/n")]
    return max((int(count.item()) for count in counts), default=0)


def _like(own: Any, array: Any) -> Any:
    """``array`` in the form of ``own``: an array, or a number of its type."""
    return array if isinstance(own, np.ndarray) else type(own)(array.item())
