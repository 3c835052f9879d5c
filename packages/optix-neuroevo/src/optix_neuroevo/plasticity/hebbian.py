"""A plasticity rule at work on a graph, in the space of weights in effect.

Attached to a run it acts once per window, on what the graph did in it; by hand, ``record()`` after each step and
``apply()`` do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_core.loop_callback import LoopCallback
from optix_core.topology import PlasticityRule
from optix_core.types import EvalMetrics
from optix_neuroevo.agents.measuring import Measurements
from optix_neuroevo.graph import weights as forms
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plan.probe import record_activity
from optix_neuroevo.plasticity.rules import Oja

Array = NDArray[Any]


class HebbianHook(LoopCallback):
    """Moves every weight by a local rule, and lets it decay.

    ``dw = rule.change(pre, post, w, rate=hebbian_lr) - weight_decay * w``, with ``pre`` as the edge delivered it: an
    edge of delay d pairs what its source did d steps ago with what its target does now.

    Args:
        graphs: A graph, or several by name.
        hebbian_lr: Step size, at least 0.
        weight_decay: Share of each weight that is lost per application, in [0, 1].
        clip_weight: Largest magnitude of a weight; None: no bound.
        respect_dale: Weights stop at zero instead of taking a sign that their source must not have.
        rule: A rule, or the name of a registered one; None: :class:`~optix_neuroevo.plasticity.rules.Oja`.

    Attributes:
        hebbian_lr: May be changed at any time.
        n_applied: How often it was applied.

    Raises:
        ConfigError: A number is out of range.
    """

    critical = True

    def __init__(
        self,
        graphs: Mapping[str, NeuronGraph] | NeuronGraph,
        hebbian_lr: float = 1e-3,
        weight_decay: float = 1e-4,
        clip_weight: float | None = None,
        respect_dale: bool = True,
        *,
        rule: PlasticityRule | str | None = None,
    ) -> None:
        if (
            not hebbian_lr >= 0
            or not 0 <= weight_decay <= 1
            or (clip_weight is not None and clip_weight <= 0)
        ):
            raise ConfigError(
                f"hebbian_lr is at least 0, weight_decay 0 to 1, clip_weight above 0: {hebbian_lr}, {weight_decay}, "
                f"{clip_weight}"
            )
        self.graphs = {"main": graphs} if isinstance(graphs, NeuronGraph) else dict(graphs)
        self.hebbian_lr, self.weight_decay = hebbian_lr, weight_decay
        self.clip_weight, self.respect_dale = clip_weight, respect_dale
        self._rule = _rule(rule)
        self._seen: dict[str, list[Array]] = {name: [] for name in self.graphs}
        self._agent: Any = None
        self.n_applied = 0

    @classmethod
    def from_brain(cls, brain: Any, **options: Any) -> HebbianHook:
        """Of a whole :class:`~optix_neuroevo.brain.network.BrainNetwork`, pathways between regions included."""
        return cls(brain.graph, **options)

    # --- by hand ---

    @property
    def n_steps_recorded(self) -> int:
        """Steps since the last :meth:`reset`."""
        return max(len(steps) for steps in self._seen.values())

    def record(self) -> None:
        """Remember what each graph did in its last :meth:`NeuronGraph.forward`."""
        for name, graph in self.graphs.items():
            found = np.zeros(graph.neurons.capacity)
            for neuron in graph.all_neuron_ids():
                found[graph.slot_of(neuron)] = graph.activation_of(neuron)
            self._seen[name].append(found)

    def mean_coactivation(self) -> dict[str, dict[str, float]]:
        """For each graph and edge the mean of post times pre over the recorded steps."""
        found: dict[str, dict[str, float]] = {}
        for name, graph in self.graphs.items():
            slots, pre, post = self._pairs(graph, self._recorded(name))
            mean = (pre * post).mean(axis=0) if len(pre) else np.zeros(len(slots))
            found[name] = {graph.edge_at(s): float(m) for s, m in zip(slots.tolist(), mean, strict=True)}
        return found

    def apply(self) -> None:
        """Move the weights by what was recorded; nothing happens without any."""
        for name, graph in self.graphs.items():
            if self._seen[name]:
                self._apply(graph, self._recorded(name))
        self.n_applied += 1

    def reset(self) -> None:
        """Forget what was recorded: an episode begins."""
        self._seen = {name: [] for name in self.graphs}

    def apply_and_reset(self) -> None:
        """Both, in this order."""
        self.apply()
        self.reset()

    # --- in a run ---

    def attach(self, run: Any) -> None:
        """Called by the loop once."""
        agent = getattr(run, "agent", None)
        if any(getattr(agent, "graph", None) is g for g in self.graphs.values()):
            self.bind(agent)

    def bind(self, agent: Any) -> None:
        """The agent whose windows it looks at."""
        self._agent = agent
        if agent.measurements is None:
            agent.measure(Measurements())

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """A window was learned from: move the weights by what the graph does in it now."""
        del episode_id, eval_metrics
        measured = None if self._agent is None else self._agent.measurements
        probe = None if measured is None else measured.probe()
        if self._agent is not None and probe is not None and self.hebbian_lr + self.weight_decay > 0:
            graph = self._agent.graph
            self._apply(graph, record_activity(graph, probe), probe.starts)
            self.n_applied += 1

    # --- inside ---

    def _recorded(self, name: str) -> Array:
        size = self.graphs[name].neurons.capacity
        steps = [np.pad(step, (0, max(0, size - len(step)))) for step in self._seen[name]]
        return np.stack(steps)[:, :, None] if steps else np.zeros((0, size, 1))

    def _pairs(
        self, graph: NeuronGraph, activity: Array, starts: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Edge slots, and what both ends did ``[steps, E]``; what lies before an episode counts as zero."""
        e = graph.edges
        slots = e.slots()
        steps, _, n = activity.shape
        post = activity[:, e["dst"][slots]].astype(np.float64)
        pre = np.zeros_like(post)
        begun = None if starts is None else np.cumsum(starts, axis=0)
        delays = e["delay"][slots]
        for delay in np.unique(delays).tolist():
            if delay >= steps:
                continue
            chosen = np.flatnonzero(delays == delay)
            sent = activity[: steps - delay, e["src"][slots[chosen]]]
            if begun is not None and delay:
                sent = sent * (begun[delay:] == begun[: steps - delay])[:, None]
            pre[delay:, chosen] = sent
        return slots, _flat(pre, n), _flat(post, n)

    def _apply(self, graph: NeuronGraph, activity: Array, starts: Array | None = None) -> None:
        slots, pre, post = self._pairs(graph, activity, starts)
        if not len(slots) or not len(pre):
            return
        w = graph.effective_weights()[slots].astype(np.float64)
        new = w + self._rule.change(pre, post, w, rate=self.hebbian_lr) - self.weight_decay * w
        if self.clip_weight is not None:
            new = np.clip(new, -self.clip_weight, self.clip_weight)
        cell = graph.neurons["cell"][graph.edges["src"][slots]]
        soft = graph.edges["form"][slots] != forms.FREE
        bound = soft | self.respect_dale
        new = np.where(bound & (cell == forms.EXCITATORY), np.maximum(new, 0.0), new)
        new = np.where(bound & (cell == forms.INHIBITORY), np.minimum(new, 0.0), new)
        graph.parameter_arrays["theta"].values[slots[~soft]] = new[~soft]
        graph.touch()
        if soft.any():
            with graph.edit("plasticity"):
                for slot, value in zip(slots[soft].tolist(), new[soft].tolist(), strict=True):
                    graph.set_weight(graph.edge_at(slot), value)


def _flat(values: Array, n: int) -> Array:
    """``[T, E, B]`` as ``[T * B, E]``."""
    return values.transpose(0, 2, 1).reshape(len(values) * n, -1)


def _rule(what: PlasticityRule | str | None) -> PlasticityRule:
    if what is None:
        return Oja()
    if not isinstance(what, str):
        return what
    from optix_core.plugins.lookup import create
    from optix_core.plugins.registry import default_registry

    return create(default_registry().plasticity_rule(what), (), {})
