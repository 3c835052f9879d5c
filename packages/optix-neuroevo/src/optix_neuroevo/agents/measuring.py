"""What a window shows about a graph: activity, gradients, and gradients of edges that do not exist.

Measured once per window, before anything is updated, with the loss that the window is about to be learned from. Then
all ratios are 1, so the gradient is that of the policy itself, and what several parts of the window agree on can be
told from noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optix_core.state import State
from optix_core.topology import EdgeGradients, Signals
from optix_neuroevo.agents.blocks import Blocks
from optix_neuroevo.agents.networks import GraphNetworks
from optix_neuroevo.agents.update import GraphBatch, Staged, evaluate
from optix_neuroevo.graph.neuron_graph import INPUT, NeuronGraph
from optix_neuroevo.plan.absent import absent_gradients
from optix_neuroevo.plan.probe import Probe

Array = NDArray[Any]
PROBED = 16
"""Sequences that are kept of each window as a probe."""


class Measurements:
    """Running means of what windows showed, by slot.

    Args:
        delays: Delays of the edges whose gradients are measured, existing or not.
        length: Steps of the sequences that are run for it; delays beyond it are not seen.
        parts: Into so many parts a window is divided; their spread tells the noise.
        decay: Weight of the past in the running means, in [0, 1).

    Attributes:
        windows: Windows measured since the last change of topology.
        utilisation: Share of hidden neurons whose gradient stands out, of the last window; see :meth:`measure`.
    """

    def __init__(
        self,
        delays: Sequence[int] = (0, 1, 2),
        *,
        length: int = 32,
        parts: int = 8,
        decay: float = 0.8,
    ) -> None:
        self.delays, self._length, self._parts, self._decay = tuple(delays), length, parts, decay
        self.windows, self.utilisation = 0, 0.0
        self._uid: Array = np.zeros(0, np.int64)
        self._means: dict[str, Array] = {}
        self._probe: dict[str, Array] = {}

    def forget(self) -> None:
        """The topology changed: gradients and correlations of before are of another network."""
        self.windows, self._means, self._probe = 0, {}, {}

    def measure(
        self, networks: GraphNetworks, batch: GraphBatch, data: Staged, hp: Mapping[str, Any]
    ) -> float:
        """Take a window in; parameters and their gradients are left alone.

        The *utilisation* is the share of hidden neurons whose input has a mean gradient of at least three standard
        errors: of those, learning still knows in which direction to move them.

        Returns:
            The largest ``|ratio - 1|`` that was met; see :func:`~optix_neuroevo.agents.update.ratio_error`.
        """
        graph, module = networks.graph, networks.module
        blocks = Blocks.cut(batch.ends, self._length)
        parameters = list(networks.named_parameters().values())
        kept = [p.grad for p in parameters]
        worst, edges, inputs, activity = 0.0, [], [], []
        module.record = True
        try:
            for chosen in np.array_split(
                np.arange(blocks.rows.shape[1]), min(self._parts, blocks.rows.shape[1])
            ):
                for p in parameters:
                    p.grad = None
                part = blocks.take(chosen)
                terms = evaluate(networks, data, part, hp)
                worst = max(worst, float(torch.expm1(terms.log_ratios).abs().max()))
                terms.loss(hp).backward()
                trace = module.trace
                edges.append(absent_gradients(trace, self.delays))
                inputs.append(trace.delta.sum(axis=(0, 2)))
                activity.append(np.moveaxis(trace.activity, 1, 2)[part.there])
        finally:
            module.record = False
            for p, grad in zip(parameters, kept, strict=True):
                p.grad = grad
        n = max(1, len(edges))
        by_part, h = np.stack(inputs), np.concatenate(activity)
        error = by_part.std(axis=0) / np.sqrt(max(1, n - 1))
        hidden = self._hidden(graph)
        stands_out = np.abs(by_part.mean(axis=0)) >= 3.0 * error
        driven = np.abs(by_part).max(axis=0) > 0.0
        self.utilisation = float((stands_out & driven)[hidden].mean()) if len(hidden) else 1.0
        stack = np.stack(edges)
        self._take(
            graph,
            {
                "activity": np.abs(h).mean(axis=0),
                "mean": h.mean(axis=0),
                "second": (h.T @ h) / len(h),
                "bias": np.abs(by_part).mean(axis=0),
                "edges": stack.mean(axis=0),
                "edges_error": stack.var(axis=0) / max(1, n - 1),
            },
        )
        first = blocks.take(np.arange(min(PROBED, blocks.rows.shape[1])))
        self._probe = {
            "observations": networks.inputs(batch.observations[first.rows]),
            "memory": batch.memory[first.rows[0]].copy(),
            "starts": first.starts,
        }
        return worst

    def probe(self) -> Probe | None:
        """Some sequences of the last window, on which the effect of a change can be measured; None after a change."""
        if not self._probe:
            return None
        p = self._probe
        return Probe(observations=p["observations"], memory=p["memory"], starts=p["starts"])

    def signals(self, graph: NeuronGraph) -> Signals:
        """What mutators are told."""
        if not self._means:
            return Signals()
        uid = graph.neurons["uid"]
        size = min(len(uid), len(self._uid))
        slots = [s for s in graph.neurons.slots().tolist() if s < size and uid[s] == self._uid[s]]
        names = {s: graph.neuron_at(s) for s in slots}
        role, m = graph.neurons["role"], self._means
        dst = [s for s in slots if role[s] != INPUT]
        hidden = [s for s in self._hidden(graph).tolist() if s in names]
        factor = np.sqrt(self._weight())
        return Signals(
            activity={names[s]: float(m["activity"][s]) for s in slots},
            bias_gradients={names[s]: float(m["bias"][s]) for s in dst},
            correlation=self._correlations(hidden, names),
            edge_gradients=tuple(
                EdgeGradients(
                    delay=delay,
                    src=tuple(names[s] for s in slots),
                    dst=tuple(names[s] for s in dst),
                    gradient=m["edges"][k][np.ix_(dst, slots)],
                    deviation=factor * np.sqrt(m["edges_error"][k][np.ix_(dst, slots)]),
                )
                for k, delay in enumerate(self.delays)
            ),
            utilisation=self.utilisation,
        )

    def state_dict(self) -> State:
        """The running means."""
        return {
            "windows": self.windows,
            "utilisation": self.utilisation,
            "uid": self._uid.copy(),
            "means": {k: v.copy() for k, v in self._means.items()},
            "probe": {k: v.copy() for k, v in self._probe.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.windows, self.utilisation = int(state["windows"]), float(state["utilisation"])
        self._uid = np.array(state["uid"], np.int64)
        self._means = {k: np.array(v) for k, v in state["means"].items()}
        self._probe = {k: np.array(v) for k, v in state["probe"].items()}

    def _weight(self) -> float:
        """What the running mean's variance is of one window's: windows are independent of each other."""
        a, n = self._decay, self.windows
        total = (1.0 - a**n) / (1.0 - a)
        return (1.0 - a ** (2 * n)) / (1.0 - a * a) / (total * total)

    def _take(self, graph: NeuronGraph, found: dict[str, Array]) -> None:
        uid = graph.neurons["uid"].copy()
        if not np.array_equal(uid, self._uid):
            self.forget()
            self._uid = uid
        self.windows += 1
        a = self._decay
        old = (
            a * (1.0 - a ** (self.windows - 1)) / (1.0 - a**self.windows)
        )  # unbiased from the first window on
        self._means = {
            k: v if k not in self._means else old * self._means[k] + (1.0 - old) * v for k, v in found.items()
        }

    def _correlations(self, hidden: list[int], names: Mapping[int, str]) -> dict[tuple[str, str], float]:
        mean, second = self._means["mean"][hidden], self._means["second"][np.ix_(hidden, hidden)]
        covariance = second - np.outer(mean, mean)
        spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        found: dict[tuple[str, str], float] = {}
        for i, a in enumerate(hidden):
            for j in range(i + 1, len(hidden)):
                if min(spread[i], spread[j]) > 1e-6:
                    value = float(covariance[i, j] / (spread[i] * spread[j]))
                    found[names[a], names[hidden[j]]] = min(1.0, max(-1.0, value))
        return found

    @staticmethod
    def _hidden(graph: NeuronGraph) -> NDArray[np.int64]:
        slots = graph.neurons.slots()
        return slots[graph.neurons["role"][slots] == 1]


class OptionalMeasurements:
    """The measurements as a part of an agent's state, whether there are any or not.

    Attributes:
        measurements: None until somebody asks for them.
    """

    def __init__(self) -> None:
        self.measurements: Measurements | None = None
        self._waiting: Mapping[str, Any] | None = None

    def set(self, measurements: Measurements | None) -> None:
        """Begin to measure, from what a loaded state held if there was one; None: no longer."""
        self.measurements = measurements
        if measurements is not None and self._waiting is not None:
            measurements.load_state_dict(self._waiting)
        self._waiting = None

    def state_dict(self) -> State:
        """What was found so far; None if nothing is measured."""
        found = self._waiting if self.measurements is None else self.measurements.state_dict()
        return {"found": None if found is None else dict(found)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there, at once or as soon as somebody asks."""
        found = state["found"]
        if self.measurements is None:
            self._waiting = found
        elif found is None:
            self.measurements.forget()
        else:
            self.measurements.load_state_dict(found)
