"""The smallest network that topology mutators can be tried on: point neurons, delays, batches, no framework.

It follows the definition word for word (``h_v(t) = f_v(b_v + sum of w h_u(t - d))``, delay 0 within the step), neuron
by neuron, so it is slow and easy to believe. It also serves as an independent oracle for faster networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.topology.view import Cell, EdgeView, GraphEdit, GraphView, NeuronView

Array = NDArray[np.float64]


def _elu(x: Array) -> Array:
    return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "elu": _elu,
}


class TinyGraph:
    """A network that implements :class:`~optix_core.topology.MutableGraph` and both views of it.

    Attributes:
        bias: What is added to each neuron's input, by id; 0 where there is no entry.
    """

    def __init__(self) -> None:
        self._neurons: dict[str, NeuronView] = {}
        self._edges: dict[str, EdgeView] = {}
        self.bias: dict[str, float] = {}
        self._past: list[dict[str, Array]] = []  # the newest step last
        self._batch = 1
        self._named = 0

    @classmethod
    def random(cls, seed: int, *, inputs: int = 3, hidden: int = 5, outputs: int = 2) -> TinyGraph:
        """A random network of ``tanh`` neurons: feed-forward without delay, anything goes with delays of 1 to 3.

        One neuron more hangs on edges that do nothing, so that there is something to prune.
        """
        rng, graph = np.random.default_rng(seed), cls()
        for role, count in (("input", inputs), ("hidden", hidden), ("output", outputs)):
            for _ in range(count):
                activation = "linear" if role == "output" else "tanh"
                graph.put(NeuronView(id=graph._name("n"), role=role, activation=activation, age=1000))  # pyright: ignore[reportArgumentType]
        ids = list(graph._neurons)
        for j, dst in enumerate(ids[inputs:], start=inputs):
            graph.bias[dst] = float(rng.normal(scale=0.5))
            for i, src in enumerate(ids):
                delay = int(rng.integers(1, 4)) if i >= j or rng.random() < 0.3 else 0
                if rng.random() < (0.7 if i < j else 0.3):
                    graph.add_edge(src, dst, weight=float(rng.normal(scale=0.6)), delay=delay)
        idle = graph.put(NeuronView(id=graph._name("n"), role="hidden", age=1000))
        graph.add_edge(ids[0], idle, weight=1e-9)
        graph.add_edge(idle, ids[-1], weight=-1e-9, delay=1)
        graph._edges = {name: replace(edge, age=1000) for name, edge in graph._edges.items()}
        return graph

    # --- looking ---

    def view(self) -> GraphView:
        """Itself."""
        return self

    def neurons(self) -> Sequence[NeuronView]:
        """All neurons."""
        return tuple(self._neurons.values())

    def edges(self) -> Sequence[EdgeView]:
        """All edges."""
        return tuple(self._edges.values())

    def would_cycle(self, src: str, dst: str) -> bool:
        """Whether ``src`` can be reached from ``dst`` within a step."""
        seen, ahead = set[str](), [dst]
        while ahead:
            here = ahead.pop()
            if here == src:
                return True
            if here not in seen:
                seen.add(here)
                ahead += [e.dst for e in self._edges.values() if e.src == here and e.delay == 0]
        return False

    # --- running ---

    def reset(self, batch: int) -> None:
        """Begin ``batch`` episodes."""
        self._past, self._batch = [], batch

    def step(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``[B, n_out]`` for ``[B, n_in]``."""
        now: dict[str, Array] = {}
        self._past.append(now)
        inputs = [n.id for n in self._neurons.values() if n.role == "input"]
        now.update(zip(inputs, np.asarray(observations, np.float64).T, strict=True))
        outputs = [self._value(n.id) for n in self._neurons.values() if n.role == "output"]
        for name in self._neurons:  # those that nothing reads within the step too
            self._value(name)
        return np.stack(outputs, axis=1)

    def _value(self, name: str, back: int = 0) -> Array:
        """What a neuron answers now, or answered ``back`` steps ago."""
        if back:
            steps = self._past[:-back]
            return steps[-1].get(name, np.zeros(self._batch)) if steps else np.zeros(self._batch)
        now = self._past[-1]
        if name not in now:
            total = np.full(self._batch, self.bias.get(name, 0.0))
            for edge in self._edges.values():
                if edge.dst == name:
                    total = total + edge.weight * self._value(edge.src, edge.delay)
            now[name] = _FUNCTIONS[self._neurons[name].activation](total)
        return now[name]

    # --- changing ---

    @contextmanager
    def edit(self) -> Generator[GraphEdit]:
        """Change it; after an error everything is as it was."""
        before = copy.deepcopy(self.__dict__)
        try:
            yield self
        except BaseException:
            self.__dict__.update(before)
            raise

    def put(self, neuron: NeuronView) -> str:
        """Add a neuron of any role."""
        if neuron.activation not in _FUNCTIONS:
            raise ValueError(f"unknown activation {neuron.activation!r}; known: {', '.join(_FUNCTIONS)}")
        self._neurons[neuron.id] = neuron
        return neuron.id

    def add_neuron(
        self,
        *,
        activation: str = "tanh",
        neuron_type: str = "point",
        cell: Cell = "any",
        region: str = "",
    ) -> str:
        """A new hidden neuron."""
        if neuron_type != "point":
            raise ValueError(f"TinyGraph has point neurons only, not {neuron_type!r}")
        return self.put(
            NeuronView(id=self._name("n"), role="hidden", activation=activation, cell=cell, region=region)
        )

    def add_edge(self, src: str, dst: str, *, weight: float = 0.0, delay: int = 0) -> str:
        """A new edge."""
        self._neuron(src)
        if self._neuron(dst).role == "input":
            raise ValueError(f"{dst} is an input; nothing can feed it")
        if delay == 0 and self.would_cycle(src, dst):
            raise ValueError(f"an edge without delay from {src} to {dst} would close a cycle")
        self._require_sign(src, weight)
        name = self._name("e")
        self._edges[name] = EdgeView(id=name, src=src, dst=dst, weight=float(weight), delay=int(delay))
        return name

    def set_weight(self, edge: str, weight: float) -> None:
        """Give an edge another weight."""
        found = self._edge(edge)
        self._require_sign(found.src, weight)
        self._edges[edge] = replace(found, weight=float(weight))

    def remove_edge(self, edge: str) -> None:
        """Take an edge away."""
        self._edge(edge)
        del self._edges[edge]

    def remove_neuron(self, neuron: str) -> None:
        """Take a hidden neuron away."""
        self._hidden(neuron)
        del self._neurons[neuron]
        self._edges = {k: e for k, e in self._edges.items() if neuron not in {e.src, e.dst}}

    def insert_on_edge(self, edge: str) -> str:
        """A linear relay that has already seen what its source sent."""
        old = self._edge(edge)
        early = old.delay // 2
        sign = -1.0 if self._neurons[old.src].cell == "inhibitory" else 1.0
        relay = self.add_neuron(activation="linear")
        self.remove_edge(edge)
        self.add_edge(old.src, relay, weight=sign, delay=early)
        self.add_edge(relay, old.dst, weight=sign * old.weight, delay=old.delay - early)
        for t, step in enumerate(self._past):
            source = self._past[t - early].get(old.src) if t >= early else None
            step[relay] = np.zeros(self._batch) if source is None else sign * source
        return relay

    def split_neuron(self, neuron: str, rng: Any) -> str:
        """A twin with the same past, and shares of 0.2 to 0.8 of each outgoing weight."""
        old = self._hidden(neuron)
        twin = self.add_neuron(activation=old.activation, cell=old.cell, region=old.region)
        self.bias[twin] = self.bias.get(neuron, 0.0)
        for step in self._past:
            if neuron in step:
                step[twin] = step[neuron]
        edges = list(self._edges.values())
        for edge in edges:
            if edge.dst == neuron:
                self.add_edge(edge.src, twin, weight=edge.weight, delay=edge.delay)
        for edge in [e for e in self._edges.values() if e.src == neuron]:
            share = float(rng.uniform(0.2, 0.8))
            self.set_weight(edge.id, share * edge.weight)
            self.add_edge(twin, edge.dst, weight=(1.0 - share) * edge.weight, delay=edge.delay)
        return twin

    def prune_neuron(self, neuron: str) -> None:
        """Each source drives each target with the product of the weights: what a linear neuron did."""
        self._hidden(neuron)
        edges = list(self._edges.values())
        into = [e for e in edges if e.dst == neuron and e.src != neuron]
        out = [e for e in edges if e.src == neuron and e.dst != neuron]
        self.remove_neuron(neuron)
        for a in into:
            for b in out:
                delay = a.delay + b.delay
                if delay or not self.would_cycle(a.src, b.dst):
                    self.add_edge(a.src, b.dst, weight=a.weight * b.weight, delay=delay)

    def merge_neurons(self, keep: str, remove: str) -> None:
        """Outgoing weights add up."""
        self._hidden(keep)
        self._hidden(remove)
        for edge in [e for e in self._edges.values() if e.src == remove and e.dst != remove]:
            if edge.delay or not self.would_cycle(keep, edge.dst):
                self.add_edge(keep, edge.dst, weight=edge.weight, delay=edge.delay)
        self.remove_neuron(remove)

    def _name(self, letter: str) -> str:
        self._named += 1
        return f"{letter}{self._named}"

    def _neuron(self, name: str) -> NeuronView:
        if name not in self._neurons:
            raise ValueError(f"there is no neuron {name!r}")
        return self._neurons[name]

    def _hidden(self, name: str) -> NeuronView:
        found = self._neuron(name)
        if found.role != "hidden":
            raise ValueError(f"{name} is an {found.role} neuron; only hidden ones can be changed")
        return found

    def _edge(self, name: str) -> EdgeView:
        if name not in self._edges:
            raise ValueError(f"there is no edge {name!r}")
        return self._edges[name]

    def _require_sign(self, src: str, weight: float) -> None:
        cell = self._neurons[src].cell
        if (cell == "excitatory" and weight < 0) or (cell == "inhibitory" and weight > 0):
            raise ValueError(f"{src} is {cell}; an outgoing weight cannot be {weight}")
