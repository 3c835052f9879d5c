"""What a graph agent writes to files and reads from them: topology is part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents import weights as files
from optix_core.errors import IncompatibleCheckpoint
from optix_core.state import State
from optix_neuroevo.agents.learning import GraphLearning
from optix_neuroevo.graph.averaging import average_graphs


class GraphKeeping(GraphLearning):
    """Weights as files, of whatever topology."""

    def save_weights(self, path: str) -> None:
        """Write what acting needs as one safetensors file: topology, parameters and observation statistics."""
        self._store.save_weights(path)

    def load_weights(self, path: str) -> None:
        """Become what :meth:`save_weights` wrote, of whatever topology; optimizer state that fits is kept.

        Raises:
            IncompatibleCheckpoint: It is of another agent, or of other spaces.
        """
        self._load(files.read_tensors(path, kind=self.kind))

    def average_weights(self, paths: Sequence[str]) -> None:
        """Become the mean of several; where topologies differ, neurons and edges are matched by their numbers.

        Raises:
            IncompatibleCheckpoint: They are of other agents or spaces.
        """
        saved = [files.read_tensors(path, kind=self.kind) for path in paths]
        if not saved:
            raise ValueError("average_weights needs at least one path")
        before = self._training.state_dict()
        graphs: list[State] = []
        try:
            for arrays in saved:
                self._training.load_arrays(_graph_part(arrays), owner=self.kind)
                graphs.append(self._networks.graph.state_dict())
            mean = dict(saved[0])
            for name in [n for n in mean if n.startswith("extras/")]:
                mean[name] = np.mean([arrays[name] for arrays in saved], axis=0).astype(mean[name].dtype)
            self._networks.graph.load_state_dict(average_graphs(graphs))
            mean = {n: a for n, a in mean.items() if not n.startswith("graph/")}
            mean |= {n: a for n, a in self._training.arrays().items() if n.startswith("graph/")}
        finally:
            self._training.load_state_dict(before, owner=self.kind)
        self._load(mean)

    def _load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        before = self._training.state_dict()
        try:
            self._training.load_arrays(_graph_part(arrays), owner=self.kind)
            self._store._load_weights(dict(arrays))  # the topology fits by now
        except IncompatibleCheckpoint:
            self._training.load_state_dict(before, owner=self.kind)
            raise
        self._rows.require_room()


def _graph_part(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Without the observation statistics."""
    return {n: a for n, a in arrays.items() if n.startswith(("graph/", "extras/"))}
