"""What an agent stores of its graph: topology, parameters, and the optimizer, across mutations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optix_core.agents.weights import Arrays
from optix_core.errors import IncompatibleCheckpoint
from optix_core.state import State
from optix_neuroevo.agents.networks import GraphNetworks
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.neuron_graph import INPUT, OUTPUT
from optix_neuroevo.training.adam import TopologyAwareAdam

_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
STRUCTURE = "graph/structure"
_HISTORY = ("version", "next_uid", "next_position", "rng")
"""What of a graph's state is no part of the policy: how it came about."""


class GraphTrainable:
    """A graph with its optimizer, as :class:`optix_core.agents.trainable.Trainable` asks for it.

    The optimizer follows every change of the graph. Unlike other networks a graph becomes whatever a state or a file
    describes: topology is part of both.

    Args:
        networks: The graph and what else is trained.
        optimizer: Over all parameters.
        changed: Called whenever the graph became another one from outside.

    Attributes:
        perturbable: Yes.
    """

    perturbable = True

    def __init__(
        self,
        networks: GraphNetworks,
        optimizer: TopologyAwareAdam,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.networks, self.optimizer, self._changed = networks, optimizer, changed
        networks.graph.subscribe(self._follow)

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_learning_rate(self, value: float) -> None:
        """Into every parameter group; moments are kept."""
        for group in self.optimizer.param_groups:
            group["lr"] = value

    def input_width(self) -> int | None:
        """Numbers in one flat observation."""
        return self.networks.obs_dim

    def arrays(self) -> Arrays:
        """The graph's arrays by path, what else is trained, and the rest of the graph's state as one array of text."""
        found: Arrays = {
            f"extras/{name}": p.detach().numpy().copy() for name, p in self.networks.extras.items()
        }
        state = self.networks.graph.state_dict()
        state["memory"] = np.zeros_like(
            state["memory"]
        )  # of the graph's own steps, no part of the policy either
        rest = _split({k: v for k, v in state.items() if k not in _HISTORY}, "graph", found)
        found[STRUCTURE] = np.frombuffer(json.dumps(rest).encode(), np.uint8).copy()
        return found

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Become what :meth:`arrays` described, of whatever topology.

        Raises:
            IncompatibleCheckpoint: It is of other spaces, or no graph.
        """
        if STRUCTURE not in arrays:
            raise IncompatibleCheckpoint(f"these weights hold no graph, so they are not of {owner}")
        rest = json.loads(np.asarray(arrays[STRUCTURE], np.uint8).tobytes())
        now = self.networks.graph.state_dict()
        graph = {**{k: now[k] for k in _HISTORY}, **_joined(rest, "graph", arrays)}
        graph["next_uid"] = 1 + max(int(np.max(graph[t]["uid"], initial=0)) for t in ("neurons", "edges"))
        graph["next_position"] = 1 + int(np.max(graph["neurons"]["position"], initial=0))
        extras = {
            n.removeprefix("extras/"): np.asarray(a) for n, a in arrays.items() if n.startswith("extras/")
        }
        self._become(graph, extras, owner=owner)

    def state_dict(self) -> State:
        """Graph, what else is trained, and optimizer."""
        extras = {name: p.detach().numpy().copy() for name, p in self.networks.extras.items()}
        return {
            "networks": {"graph": self.networks.graph.state_dict(), "extras": extras},
            "optimizer": self._optimizer_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`, of whatever topology.

        Raises:
            IncompatibleCheckpoint: It is of other spaces, or no graph.
        """
        networks = state["networks"]
        self._become(networks["graph"], networks["extras"], owner=owner)
        self._load_optimizer(state["optimizer"], owner=owner)

    def perturb(self, noise_scale: float, rng: np.random.Generator) -> None:
        """Multiply every trainable number by ``1 + noise_scale * N(0, 1)``; weights keep their sign's side of zero."""
        with torch.no_grad():
            for parameter in self.networks.named_parameters().values():
                noise = rng.standard_normal(tuple(parameter.shape)).astype(np.float32)
                parameter.mul_(torch.from_numpy(1.0 + noise_scale * noise))
        self.networks.graph.enforce_dale()
        self._changed()

    def _follow(self, delta: GraphDelta) -> None:
        self.optimizer.follow(delta, dict(self.networks.graph.named_parameters()))

    def _become(self, graph: Mapping[str, Any], extras: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        own = self.networks.extras
        for name in sorted({*own, *extras}):
            here = list(own[name].shape) if name in own else None
            there = list(np.shape(extras[name])) if name in extras else None
            if here != there:
                raise IncompatibleCheckpoint(
                    f"{name} has shape {there}, {owner} has {here}; build it for the same spaces and options"
                )
        now = self.networks.graph
        ends = (len(now.input_ids), len(now.output_ids))
        alive, role = (np.asarray(graph["neurons"][name]) for name in ("alive", "role"))
        found = (int((alive & (role == INPUT)).sum()), int((alive & (role == OUTPUT)).sum()))
        if found != ends:
            raise IncompatibleCheckpoint(
                f"the graph has {found[0]} inputs and {found[1]} outputs, {owner} has {ends[0]} and {ends[1]}"
            )
        now.load_state_dict(graph)
        with torch.no_grad():
            for name, array in extras.items():
                own[name].copy_(torch.from_numpy(np.array(array, np.float32)))
        self._adopt()
        self._changed()

    def _adopt(self) -> None:
        """Let the optimizer hold exactly the parameters that there are; state that fits is kept, other state goes."""
        parameters = self.networks.named_parameters()
        group = self.optimizer.param_groups[0]
        group["params"] = list(parameters.values())
        for p in list(self.optimizer.state):
            fits = any(p is q for q in group["params"])
            if not fits or self.optimizer.state[p]["exp_avg"].shape != p.shape:
                del self.optimizer.state[p]

    def _optimizer_state(self) -> State:
        group = {k: v for k, v in self.optimizer.param_groups[0].items() if k != "params"}
        group["betas"] = list(group["betas"])
        state: State = {}
        for name, p in self.networks.named_parameters().items():
            entry = self.optimizer.state.get(p)
            if entry:
                state[name] = {k: entry[k].detach().numpy().copy() for k in _MOMENTS if k in entry}
        return {"group": group, "state": state}

    def _load_optimizer(self, state: Mapping[str, Any], *, owner: str) -> None:
        parameters = self.networks.named_parameters()
        loaded: dict[str, dict[str, torch.Tensor]] = {}
        for name, entry in state["state"].items():
            p = parameters.get(name)
            if p is None or np.shape(entry["exp_avg"]) != tuple(p.shape):
                raise IncompatibleCheckpoint(
                    f"the optimizer state of {name} does not fit the graph of {owner}"
                )
            loaded[name] = {k: torch.from_numpy(np.array(v)) for k, v in entry.items()}
        group = self.optimizer.param_groups[0]
        group.update({k: tuple(v) if k == "betas" else v for k, v in state["group"].items()})
        self.optimizer.state.clear()
        for name, entry in loaded.items():
            self.optimizer.state[parameters[name]] = entry


def _split(state: Mapping[str, Any], path: str, arrays: Arrays) -> dict[str, Any]:
    """The parts of a state that JSON holds; arrays go to ``arrays`` by their path."""
    rest: dict[str, Any] = {}
    for name, value in state.items():
        where = f"{path}/{name}"
        if isinstance(value, Mapping):
            rest[name] = _split(value, where, arrays)
        elif isinstance(value, np.ndarray):
            arrays[where] = value.copy()
        else:
            rest[name] = value
    return rest


def _joined(rest: Mapping[str, Any], path: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The state that :func:`_split` took apart."""
    found: dict[str, Any] = {
        name: _joined(value, f"{path}/{name}", arrays) if isinstance(value, dict) else value
        for name, value in rest.items()
    }
    start = f"{path}/"
    for name, array in arrays.items():
        inner = name.removeprefix(start)
        if name.startswith(start) and "/" not in inner and name != STRUCTURE:
            found[inner] = np.array(array)
    return found
