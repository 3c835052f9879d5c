"""A network grows when scores stand still, in a structured way, while all of it is in use; it shrinks where it is idle.

Mutators say where and how, gates and budgets say when and how much. Nothing is changed but between two windows. Every
check is an event of the run, with the numbers behind it; a growth is on probation, and undone exactly if it did not
pay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optix_core.errors import ConfigError
from optix_core.loop_callback import LoopCallback
from optix_core.state import State, generator_state, restore_generator
from optix_core.topology import GrowthGate, TopologyMutator
from optix_core.types import EvalMetrics, LoopState
from optix_neuroevo.agents.measuring import Measurements
from optix_neuroevo.control.changing import picture
from optix_neuroevo.control.gates import NotImproving, lacking
from optix_neuroevo.control.growing import Growing
from optix_neuroevo.control.regions import Region, gates, mutator
from optix_neuroevo.control.shrinking import Shrinking
from optix_neuroevo.control.trial import Trial
from optix_neuroevo.graph.neuron_graph import NeuronGraph

SCORES = 200
RECORDS = 1000


class TopologyController(Growing, Shrinking, LoopCallback):
    """Watches scores, activity and gradients, and lets mutators change the network.

    Args:
        regions: A graph, or graphs by name.
        scheduler: The run's; after a growth it starts to wait anew. A run that it is attached to brings its own.
        grow_op: ``"insert_edge"``, ``"split_neuron"``, ``"add_edge"``, the name of any registered mutator, a mutator,
            or several of them, of which the first that has a proposal is taken.
        grow_grad_threshold: Share of hidden neurons that must be in use; see
            :class:`~optix_neuroevo.control.gates.GradientUtilisation`.
        grow_cooldown: Windows between two growths of a region; the first may come at once. Every growth in a row that
            was undone doubles it, up to 32 times: what does not lack anything is tried ever more rarely.
        backoff_reset_factor: After a growth the scheduler's interval is multiplied by it; 0 restarts the scheduler.
        grad_eps: Mean gradient below which a neuron does not learn, for pruning.
        maturation_window: Windows that what is new is left alone.
        prune_edge_threshold: Effective weight that is next to nothing.
        prune_edge_patience: For so many windows in a row before an edge goes. 0: edges are never pruned.
        prune_neuron_threshold: Importance that is next to nothing. 0: neurons are never pruned.
        min_prune_observations: Windows that must have been measured first.
        merge_similarity_threshold: Least correlation of neurons that are merged; 1 or more: none are.
        merge_check_interval: Windows between two looks for twins.
        min_score_buffer: Scores since the last change of topology before anything grows.
        max_neurons: Most hidden neurons of a region.
        max_edges: Most edges of a graph.
        min_hidden_neurons: Fewest.
        max_delay: Longest delay of a new edge.
        probation: Scores after which a growth must have paid; 0: it stays whatever comes of it.
        confidence: Of the one-sided test that it has.
        tolerance: Largest change of an output that pruning and merging may cause on the last window.
        gates: Gates, or names of registered ones, all of which must agree; None:
            :class:`~optix_neuroevo.control.gates.NotImproving` and :func:`~optix_neuroevo.control.gates.lacking`.
        seed: Of what mutators draw.

    Attributes:
        graph: The graph, if there is one only.

    Raises:
        ConfigError: A number is out of range, or there is nothing to control.
    """

    critical = True

    def __init__(
        self,
        regions: Mapping[str, NeuronGraph] | NeuronGraph,
        scheduler: Any = None,
        grow_op: str | TopologyMutator | Sequence[str | TopologyMutator] = "insert_edge",
        *,
        grow_grad_threshold: float = 0.70,
        grow_cooldown: int = 20,
        backoff_reset_factor: float = 0.5,
        grad_eps: float = 1e-6,
        maturation_window: int = 30,
        prune_edge_threshold: float = 1e-3,
        prune_edge_patience: int = 10,
        prune_neuron_threshold: float = 1e-4,
        min_prune_observations: int = 10,
        merge_similarity_threshold: float = 0.95,
        merge_check_interval: int = 50,
        min_score_buffer: int = 30,
        max_neurons: int = 256,
        max_edges: int = 65536,
        min_hidden_neurons: int = 1,
        max_delay: int = 8,
        probation: int = 10,
        confidence: float = 0.95,
        tolerance: float = 0.05,
        gates: Sequence[str | GrowthGate] | None = None,
        seed: int = 0,
    ) -> None:
        named = {"main": regions} if isinstance(regions, NeuronGraph) else dict(regions)
        if not named:
            raise ConfigError("there is no region to control")
        if min(grow_cooldown, prune_edge_patience, probation, min_hidden_neurons) < 0 or probation == 1:
            raise ConfigError(
                "cooldown, patience and numbers of neurons are at least 0; probation is 0 or at least 2"
            )
        if not 0.0 <= backoff_reset_factor <= 1.0:
            raise ConfigError(f"backoff_reset_factor is {backoff_reset_factor}; it is 0 to 1")
        self._regions = [Region(n, g, None, grow_cooldown) for n, g in named.items()]
        self._scheduler, self._factor = scheduler, backoff_reset_factor
        several = (
            [grow_op] if isinstance(grow_op, str) or not isinstance(grow_op, Sequence) else list(grow_op)
        )
        self._growers = {_name_of(m): mutator(m) for m in several}
        self.grow_cooldown, self._min_scores = grow_cooldown, max(2, min_score_buffer)
        self._maturation, self._patience = maturation_window, prune_edge_patience
        self._min_measured, self._merge_every = min_prune_observations, merge_check_interval
        self._limits = {
            "neurons": max_neurons, "edges": max_edges, "hidden": min_hidden_neurons, "delay": max_delay,
        }  # fmt: skip
        self._grad_eps, self._similarity = grad_eps, merge_similarity_threshold
        self.prune_edge_threshold, self.prune_neuron_threshold = prune_edge_threshold, prune_neuron_threshold
        self.probation, self._confidence, self._tolerance = probation, confidence, tolerance
        self._gates = self._chosen(gates, grow_grad_threshold)
        self._rng = np.random.default_rng(seed)
        self._scores: deque[float] = deque(maxlen=SCORES)
        self._counts = {"grow": 0, "prune": 0, "merge": 0, "revert": 0, "plateau": 0}
        self._trial: Trial | None = None
        self._structure: list[int] | None = None
        self._agent: Any = None
        self._run: Any = None
        self._windows = 0
        self.records: deque[dict[str, Any]] = deque(maxlen=RECORDS)

    @staticmethod
    def _chosen(chosen: Sequence[str | GrowthGate] | None, threshold: float) -> dict[str, GrowthGate]:
        if chosen is not None:
            return gates(chosen)
        return {"not_improving": NotImproving(), "lacking": lacking(threshold)}

    @classmethod
    def for_graph(cls, graph: NeuronGraph, scheduler: Any = None, **options: Any) -> TopologyController:
        """Of one graph, as the region "main"."""
        return cls(graph, scheduler, **options)

    @classmethod
    def for_brain(cls, brain: Any, scheduler: Any = None, **options: Any) -> TopologyController:
        """Of every region of a :class:`~optix_neuroevo.brain.network.BrainNetwork`, each with a cooldown of its own."""
        found = cls(brain.graph, scheduler, **options)
        found._regions = [Region(n, brain.graph, n, found.grow_cooldown) for n in brain.region_names]
        return found

    @property
    def graph(self) -> NeuronGraph:
        """The graph, if there is one only.

        Raises:
            ConfigError: There are several.
        """
        if len({id(r.graph) for r in self._regions}) > 1:
            raise ConfigError("this controller looks after several graphs")
        return self._regions[0].graph

    @property
    def stats(self) -> dict[str, Any]:
        """What happened so far, and where things stand."""
        graphs = {id(r.graph): r.graph for r in self._regions}.values()
        found = self._measurements()
        return {
            **{f"{name}_count": count for name, count in self._counts.items()},
            "n_neurons": sum(g.n_neurons() for g in graphs),
            "n_edges": sum(g.n_edges() for g in graphs),
            "n_regions": len(self._regions),
            "score_buffer": len(self._scores),
            "grad_util": math.nan if found is None else found.utilisation,
            "on_probation": self._trial is not None,
        }

    def set_scheduler(self, scheduler: Any) -> None:
        """The scheduler that is to start anew after a growth."""
        self._scheduler = scheduler

    def bind(self, agent: Any) -> None:
        """The agent whose network this is: it measures what gates and mutators go by; probation restores it."""
        self._agent = agent
        if getattr(agent, "measurements", None) is None and hasattr(agent, "measure"):
            longest = self._limits["delay"]
            agent.measure(Measurements(delays=tuple(range(min(longest, 4) + 1))))

    # --- events of a run ---

    def attach(self, run: Any) -> None:
        """Called by the loop once, before anything happens."""
        self._run = run
        if self._scheduler is None:
            self._scheduler = getattr(run, "scheduler", None)
        agent = getattr(run, "agent", None)
        if self._agent is None and any(getattr(agent, "graph", None) is r.graph for r in self._regions):
            self.bind(agent)

    def on_loop_start(self) -> None:
        """Show where growth begins."""
        if self._windows == 0:
            for region in self._distinct():
                self._log("begin", region, graph=picture(region.graph))

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """The loop cools down: whether to grow is looked at once more, with the window's score, in on_episode_end."""
        del episode_id, state
        self._counts["plateau"] += 1

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """One window more: judge what is on probation, else grow, prune or merge, at most one of them."""
        del episode_id
        self._windows += 1
        self._notice_what_others_did()
        for region in self._regions:
            region.since += 1
        score = math.nan if eval_metrics is None else float(eval_metrics.primary_score)
        if math.isfinite(score):
            self._scores.append(score)
            if self._trial is not None:
                self._trial.after.append(score)
        if self._trial is not None:
            if len(self._trial.after) >= self.probation:
                self._judge(self._trial)
        else:
            for region in sorted(self._regions, key=lambda r: -r.since):  # that which waited longest first
                if self._grow(region, fresh=math.isfinite(score)) or self._shrink(region):
                    break
        self._structure = self._structure_now()

    def _notice_what_others_did(self) -> None:
        """The loop may have gone back to a policy of another topology: what was on probation is gone then."""
        if self._structure is None or self._structure == self._structure_now():
            return
        if self._trial is not None:
            region = next(r for r in self._regions if r.name == self._trial.region)
            self._log(
                "abandoned", region, mutator=self._trial.mutator, why="the run went back to another topology"
            )
        self._trial = None
        self._scores.clear()

    # --- keeping ---

    def state_dict(self) -> State:
        """Buffers, cooldowns, the growth on probation with what it would go back to, and the random stream."""
        return {
            "windows": self._windows,
            "scores": list(self._scores),
            "counts": dict(self._counts),
            "regions": {
                r.name: {"since": r.since, "undone": r.undone, "quiet": dict(r.quiet)} for r in self._regions
            },
            "trial": None if self._trial is None else self._trial.state_dict(),
            "structure": None if self._structure is None else np.array(self._structure, np.int64),
            "rng": generator_state(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there; the agent has been restored before."""
        self._windows = int(state["windows"])
        self._scores = deque((float(s) for s in state["scores"]), maxlen=SCORES)
        self._counts = {str(k): int(v) for k, v in state["counts"].items()}
        for region in self._regions:
            found = state["regions"].get(region.name)
            if found is not None:
                region.since, region.undone = int(found["since"]), int(found.get("undone", 0))
                region.quiet = {str(k): int(v) for k, v in found["quiet"].items()}
        self._trial = None if state["trial"] is None else Trial.from_state(state["trial"])
        structure = state["structure"]
        self._structure = None if structure is None else np.asarray(structure).tolist()
        restore_generator(self._rng, state["rng"])


def _name_of(what: str | TopologyMutator) -> str:
    return what if isinstance(what, str) else type(what).__name__
