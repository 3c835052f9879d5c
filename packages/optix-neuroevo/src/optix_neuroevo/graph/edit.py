"""A change in the making: what it touched so far, and how memory is to follow."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from optix_neuroevo.graph.delta import GraphDelta, Slots, Transfer
from optix_neuroevo.graph.state_layout import HISTORY, VARIABLE, Key, StateLayout, StateMigration

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph


@dataclass(frozen=True, slots=True)
class _Rule:
    """Memory of one neuron that continues that of another."""

    new: int
    old: int
    kind: int
    shift: int
    scale: float
    fill_only: bool


@dataclass(slots=True)
class Record:
    """What a change did so far."""

    neurons_added: dict[str, None] = field(default_factory=dict[str, None])
    neurons_removed: dict[str, None] = field(default_factory=dict[str, None])
    edges_added: dict[str, None] = field(default_factory=dict[str, None])
    edges_removed: dict[str, None] = field(default_factory=dict[str, None])
    added: dict[tuple[str, int], None] = field(default_factory=dict[tuple[str, int], None])
    removed: dict[tuple[str, int], None] = field(default_factory=dict[tuple[str, int], None])
    changed: dict[tuple[str, int], None] = field(default_factory=dict[tuple[str, int], None])
    transfers: list[Transfer] = field(default_factory=list[Transfer])
    rules: list[_Rule] = field(default_factory=list[_Rule])
    details: dict[str, Any] = field(default_factory=dict[str, Any])


class Edit:
    """A transaction on a graph; made by ``graph.edit()``.

    Inside it the graph's construction methods and the operations may be used freely; they become one change.

    Args:
        graph: Which graph.
        operation: The change's name.
        layout: The memory's layout before it.
        promise: See :class:`~optix_neuroevo.graph.delta.GraphDelta`.
    """

    def __init__(self, graph: NeuronGraph, operation: str, layout: StateLayout, promise: str) -> None:
        self.graph = graph
        self.operation = operation
        self.layout = layout
        self.promise = promise
        self.record = Record()

    def note(self, **details: Any) -> None:
        """Report plain data in the delta's ``details``."""
        self.record.details.update(details)

    def continue_history(
        self, new: str, old: str, *, shift: int = 0, scale: float = 1.0, fill_only: bool = False
    ) -> None:
        """Let past activations of ``new`` be those of ``old``, ``shift`` steps older and times ``scale``.

        ``fill_only``: only those that ``new`` did not keep itself.
        """
        uid = self.graph.uid_of
        self.record.rules.append(_Rule(uid(new), uid(old), HISTORY, shift, scale, fill_only))

    def continue_variables(self, new: str, old: str) -> None:
        """Let the state variables of ``new`` be those of ``old``, a neuron of the same type."""
        uid = self.graph.uid_of
        self.record.rules.append(_Rule(uid(new), uid(old), VARIABLE, 0, 1.0, False))

    def transfer(self, parameter: str, slot: int, source: int, scale: float = 1.0) -> None:
        """Say that a new parameter continues an old one; see :class:`~optix_neuroevo.graph.delta.Transfer`."""
        self.record.transfers.append(Transfer(parameter=parameter, slot=slot, source=source, scale=scale))

    def parameter_added(self, parameter: str, slot: int) -> None:
        """Record a new parameter."""
        self.record.changed.pop((parameter, slot), None)
        self.record.added[parameter, slot] = None

    def parameter_removed(self, parameter: str, slot: int) -> None:
        """Record that a slot is free now."""
        key = (parameter, slot)
        self.record.changed.pop(key, None)
        if key in self.record.added:
            del self.record.added[key]
        else:
            self.record.removed[key] = None

    def parameter_changed(self, parameter: str, slot: int) -> None:
        """Record that an existing parameter was given another value."""
        if (parameter, slot) not in self.record.added:
            self.record.changed[parameter, slot] = None

    def mark(self) -> Record:
        """A copy of what was recorded so far."""
        return copy.deepcopy(self.record)

    def migration(self, before: StateLayout, first_rule: int = 0) -> StateMigration:
        """How memory of layout ``before`` continues, given the rules from ``first_rule`` on."""
        after = self.graph.state_layout()
        rules = self.record.rules[first_rule:]
        if not rules:
            return StateMigration.by_key(before, after)
        known = set(before.keys())

        def origin(key: Key) -> tuple[Key, float] | None:
            scale = 1.0
            for rule in reversed(rules):
                uid, kind, index = key
                if uid == rule.new and kind == rule.kind and not (rule.fill_only and key in known):
                    key = (rule.old, kind, index + rule.shift if kind == HISTORY else index)
                    scale *= rule.scale
            return key, scale

        return StateMigration.build(before, after, origin)

    def delta(self, output_change: float | None) -> GraphDelta:
        """The finished change."""
        r = self.record
        return GraphDelta(
            operation=self.operation,
            version=self.graph.version,
            neurons_added=tuple(r.neurons_added),
            neurons_removed=tuple(r.neurons_removed),
            edges_added=tuple(r.edges_added),
            edges_removed=tuple(r.edges_removed),
            added=_by_parameter(r.added),
            removed=_by_parameter(r.removed),
            changed=_by_parameter(r.changed),
            transfers=tuple(r.transfers),
            capacity={name: len(p.values) for name, p in self.graph.parameter_arrays.items()},
            migration=self.migration(self.layout),
            promise=self.promise,
            output_change=output_change,
            details=dict(r.details),
        )


def _by_parameter(touched: dict[tuple[str, int], None]) -> dict[str, Slots]:
    found: dict[str, list[int]] = {}
    for name, slot in touched:
        found.setdefault(name, []).append(slot)
    return {name: np.array(slots, np.int64) for name, slots in found.items()}
