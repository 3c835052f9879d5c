"""Memory of a graph in rows whose length never changes, so that those who keep it need not know of mutations.

Pipelines keep one row per environment and hand it back at the next step; between two windows the graph may have
changed, and with it what its memory consists of. So a row says which layout it is of: its first number is the layout's
tag (0, as in a row of zeros, is an episode's beginning), then come the numbers, then zeros. Rows of an earlier layout
are brought up to date when they come in; what bears no known tag is taken for memory of the layout of now.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_core.state import State
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.graph.state_layout import StateLayout, StateMigration

MAX_STEPS = 64
"""So many changes back rows can be followed; a row from before starts anew, as in a new episode."""


class MemoryRows:
    """Packs memory ``[N, M]`` of a graph into rows ``[N, W]`` and unpacks rows of this or an earlier layout.

    Args:
        graph: Whose memory it is; its changes are followed.
        capacity: W - 1, the most numbers that a memory may have; None: room for four times as many as now, at least 63.

    Attributes:
        width: W.

    Raises:
        ConfigError: The graph needs more than that already.
    """

    def __init__(self, graph: NeuronGraph, capacity: int | None = None) -> None:
        self._graph = graph
        self.width = 1 + (max(63, 4 * graph.memory_size) if capacity is None else capacity)
        self._steps: dict[int, tuple[int, StateMigration]] = {}  # tag before -> tag after, and how
        self._layouts: dict[int, StateLayout] = {}
        self._tag = self._know(graph.state_layout())
        self.require_room()
        graph.subscribe(self._follow)

    @property
    def capacity(self) -> int:
        """Most numbers that a memory may have."""
        return self.width - 1

    def require_room(self) -> None:
        """Make sure that the graph's memory fits.

        Raises:
            ConfigError: It does not.
        """
        size = self._graph.memory_size
        if size > self.capacity:
            raise ConfigError(
                f"the graph's memory has {size} numbers, more than the {self.capacity} that this agent's rows have "
                f"room for. Make the agent with memory_capacity={2 * size} or more"
            )

    def unpack(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Memory ``[N, M]`` for rows ``[N, W]``; not a view where rows had to be brought up to date.

        Raises:
            ConfigError: The rows have another length.
        """
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ConfigError(f"memory has shape {rows.shape}, expected [N, {self.width}]")
        size, tags = self._graph.memory_size, rows[:, 0]
        memory = rows[:, 1 : 1 + size].astype(self._graph.dtype, copy=False)
        if ((tags == self._tag) | (tags == 0.0)).all():
            return memory
        memory = memory.copy()
        for tag in np.unique(tags).tolist():
            if tag != self._tag and tag in self._layouts:
                chosen = tags == tag
                memory[chosen] = self._migrated(int(tag), rows[chosen, 1:])
        return memory

    def pack(self, memory: NDArray[Any]) -> NDArray[np.float32]:
        """Rows ``[N, W]`` for memory ``[N, M]``; a fresh array."""
        if memory.shape[1] > self.capacity:
            self.require_room()
        rows = np.zeros((len(memory), self.width), np.float32)
        rows[:, 0] = self._tag
        rows[:, 1 : 1 + memory.shape[1]] = memory
        return rows

    def reset_layout(self) -> None:
        """The graph became another one as a whole (a checkpoint was loaded): know its layout."""
        self._tag = self._know(self._graph.state_layout())

    def state_dict(self) -> State:
        """The way from layouts of late to that of now, so that rows in a checkpoint can follow it."""
        return {
            "width": self.width,
            "steps": [
                {
                    "tag": tag, "to": to, "before": _plain(step.before), "after": _plain(step.after),
                    "source": step.source.copy(), "scale": step.scale.copy(),
                }
                for tag, (to, step) in self._steps.items()
            ],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there; load the graph first. Rows have the state's length from now on."""
        self.width = int(state["width"])
        self._steps = {}
        for step in state["steps"]:
            migration = StateMigration(
                before=_layout(step["before"]), after=_layout(step["after"]),
                source=np.array(step["source"], np.int64), scale=np.array(step["scale"], np.float64),
            )  # fmt: skip
            self._steps[int(step["tag"])] = (int(step["to"]), migration)
            self._know(migration.before)
        self.reset_layout()

    def _follow(self, delta: GraphDelta) -> None:
        before, after = self._know(delta.migration.before), self._know(delta.migration.after)
        if before != after:
            self._steps.pop(before, None)
            self._steps[before] = (after, delta.migration)
            self._steps.pop(
                after, None
            )  # back where we were: the way on from there is no longer the way to now
            for tag in list(self._steps)[:-MAX_STEPS]:
                del self._steps[tag]
        self._tag = after

    def _migrated(self, tag: int, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of one earlier layout; what cannot be followed starts from zeros where names differ."""
        memory = rows[:, : self._layouts[tag].size]
        for _ in range(MAX_STEPS + 1):
            if tag == self._tag:
                return memory
            if tag not in self._steps:
                break
            tag, step = self._steps[tag]
            memory = step(memory)
        return StateMigration.by_key(self._layouts[tag], self._graph.state_layout())(memory)

    def _know(self, layout: StateLayout) -> int:
        tag = tag_of(layout)
        self._layouts[tag] = layout
        return tag


def tag_of(layout: StateLayout) -> int:
    """A number from 1 to 2^24 - 1, which float32 holds exactly, by the layout's contents."""
    code = zlib.crc32(layout.uid.tobytes())
    code = zlib.crc32(layout.kind.tobytes(), code)
    code = zlib.crc32(layout.index.tobytes(), code)
    return 1 + code % (2**24 - 1)


def _plain(layout: StateLayout) -> State:
    return {"uid": layout.uid.copy(), "kind": layout.kind.copy(), "index": layout.index.copy()}


def _layout(state: Mapping[str, Any]) -> StateLayout:
    return StateLayout(
        uid=np.array(state["uid"], np.int64),
        kind=np.array(state["kind"], np.int8),
        index=np.array(state["index"], np.int32),
    )
