"""A graph as a PyTorch module that learns from whole sequences.

It computes what ``graph.step`` computes, from the same plan and the same numbers. There are two ways to do it: in
numpy with the chain rule written out (``"numpy"``: fast, on the CPU), and step by step with PyTorch's autograd
(``"autograd"``: any device, any neuron type).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.errors import ConfigError
from optix_neuroevo.graph import weights
from optix_neuroevo.plan.sequence_layout import sequence_layout
from optix_neuroevo.plan.sequence_run import SequenceRun
from optix_neuroevo.plan.torch_scan import torch_scan
from optix_neuroevo.plan.torch_weights import Gather

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph
    from optix_neuroevo.plan.compile import Plan

Array = NDArray[Any]
Executor = Literal["auto", "numpy", "autograd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What all neurons did in one pass, and how the loss would change with their weighted inputs.

    Attributes:
        activity: ``[T, neuron slots, B]`` activations; zeros in free slots.
        delta: ``[T, neuron slots, B]`` gradient by each neuron's weighted input; zeros for inputs and free slots.
        starts: ``[T, B]`` where memory was emptied before the step; None: nowhere.
    """

    activity: Array
    delta: Array
    starts: Array | None


class GraphModule(nn.Module):
    """Runs a graph over sequences.

    The module's parameters are the graph's, as they are at each moment; after a change of structure nothing has to
    be rebuilt.

    Args:
        graph: Which graph.
        executor: ``"numpy"``, ``"autograd"``, or ``"auto"``: numpy unless the device or a neuron type rules it out.
        device: Where to compute. Parameters stay on the CPU, where acting reads them.

    Attributes:
        graph: As given.
        record: Keep what :attr:`trace` needs in the next passes.

    Raises:
        ConfigError: The executor cannot be used on the device.
    """

    def __init__(
        self, graph: NeuronGraph, *, executor: Executor = "auto", device: str | torch.device = "cpu"
    ) -> None:
        super().__init__()
        self.graph = graph
        self.device = torch.device(device)
        self.record = False
        if executor not in {"auto", "numpy", "autograd"}:
            raise ConfigError(f"unknown executor {executor!r}; there are auto, numpy and autograd")
        if executor == "numpy" and self.device.type != "cpu":
            raise ConfigError(f"the numpy executor runs on the CPU, not on {self.device}; use autograd there")
        self._executor: Executor = executor
        self._taken: Any = None
        self._register()

    def forward(
        self,
        observations: Tensor | Array,
        memory: Tensor | Array | None = None,
        starts: Tensor | Array | None = None,
    ) -> tuple[Tensor, Tensor]:
        """T steps of B environments.

        Args:
            observations: ``[T, B, n_in]``.
            memory: ``[B, M]`` before the first step; None: empty. Gradients do not flow into it.
            starts: ``[T, B]`` bool, where memory is emptied before the step because an episode begins there.

        Returns:
            Outputs ``[T, B, n_out]`` and the memory after the last step ``[B, M]``, through which no gradient flows.

        Raises:
            ValueError: A shape is wrong.
        """
        graph, plan = self.graph, self.graph.plan()
        self._register()
        dtype = torch.from_numpy(np.zeros(0, graph.dtype)).dtype
        given = torch.as_tensor(observations).to(self.device, dtype)
        if given.ndim != 3 or given.shape[2] != plan.n_inputs:
            raise ValueError(
                f"observations have shape {tuple(given.shape)}, expected [T, B, {plan.n_inputs}]"
            )
        steps, n = given.shape[:2]
        if memory is None:
            before = torch.zeros(n, plan.layout.size, dtype=dtype, device=self.device)
        else:
            before = torch.as_tensor(memory).detach().to(self.device, dtype)
        if before.shape != (n, plan.layout.size):
            raise ValueError(
                f"memory has shape {tuple(before.shape)}, expected {(n, plan.layout.size)}; after a change of "
                "structure it has to be migrated (GraphDelta.migration)"
            )
        keep = None
        if starts is not None:
            begins = torch.as_tensor(starts).to(self.device)
            if begins.shape != (steps, n):
                raise ValueError(f"starts have shape {tuple(begins.shape)}, expected {(steps, n)}")
            keep = None if not bool(begins.any()) else 1.0 - begins.to(dtype)
        if self._choose(plan) == "numpy":
            layout = graph._cache("sequence", lambda: sequence_layout(plan))
            held: list[SequenceRun] = []
            arrays = graph.parameter_arrays
            types = list(dict.fromkeys(g.type.name for g in layout.own))
            learned = [arrays[name].parameter() for name in ("theta", "bias", *types)]
            outputs, after = _Run.apply((plan, layout, types, held), given, before, keep, *learned)
            self._taken = ("numpy", held[0], keep) if self.record else None
            return outputs, after
        gather = self._gather()
        buffer, own = gather.buffer(graph), gather.own(graph)
        inputs: list[Tensor] | None = [] if self.record else None
        activity: list[Tensor] | None = [] if self.record else None
        outputs, after = torch_scan(gather, buffer, own, given, before, keep, inputs, activity)
        self._taken = ("autograd", (plan, inputs, activity), keep) if self.record else None
        return outputs, after

    @property
    def trace(self) -> Trace:
        """What the last pass did; ask for it after its ``backward``.

        Raises:
            ConfigError: Nothing was recorded (set ``record = True`` before the pass), or there was no backward pass.
        """
        if self._taken is None:
            raise ConfigError("nothing was recorded: set record = True on the module before the pass")
        how, what, keep = self._taken
        slots = self.graph.neurons.capacity
        starts = None if keep is None else keep.cpu().numpy() == 0
        if how == "numpy":
            plan, z, by_input = what.plan, what.z, what.delta
        else:
            plan, inputs, columns = what
            z = torch.stack(columns, dim=1).cpu().numpy()
            gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in inputs]
            per_step = len(plan.levels)
            rows = [
                torch.cat(gradients[i : i + per_step]) for i in range(0, len(gradients), max(1, per_step))
            ]
            found = any(x.grad is not None for x in inputs)
            by_input = torch.stack(rows, dim=1).cpu().numpy() if found else np.zeros(0)
        if not by_input.size:
            raise ConfigError("the last pass had no backward pass yet, so there are no gradients to look at")
        steps, n = z.shape[1:]
        activity = np.zeros((steps, slots, n), z.dtype)
        delta = np.zeros((steps, slots, n), z.dtype)
        for members, column in ((plan.input_slots, 1 + plan.n_history), (plan.row_slots, plan.first)):
            activity[:, members] = z[column : column + len(members)].transpose(1, 0, 2)
        delta[:, plan.row_slots] = by_input.transpose(1, 0, 2)
        return Trace(activity=activity, delta=delta, starts=starts)

    def _choose(self, plan: Plan) -> str:
        if self._executor == "autograd" or self.device.type != "cpu":
            return "autograd"
        lacking = [
            g.type.name
            for level in plan.levels
            for g in level.groups
            if not g.type.is_point and g.type.jacobian is None
        ]
        if lacking and self._executor == "numpy":
            raise ConfigError(
                f"neuron type {lacking[0]!r} has no jacobian, which the numpy executor needs; use autograd"
            )
        return "autograd" if lacking else "numpy"

    def _gather(self) -> Gather:
        return self.graph._cache(f"gather {self.device}", lambda: Gather(self.graph.plan(), self.device))

    def _register(self) -> None:
        known = dict(self.named_parameters(recurse=False))
        for name, parameter in self.graph.named_parameters():
            if known.get(name) is not parameter:
                self.register_parameter(name, parameter)


class _Run(torch.autograd.Function):
    """The numpy executor as one differentiable operation, from what is stored to outputs."""

    @staticmethod
    def forward(
        ctx: Any, what: Any, observations: Tensor, memory: Tensor, keep: Tensor | None, theta: Tensor, bias: Tensor,
        *own: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        plan, layout, types, held = what
        stored = {name: p.detach().numpy() for name, p in zip(types, own, strict=True)}
        raw = theta.detach().numpy()
        buffer = np.zeros(plan.buffer_size, raw.dtype)
        plan.fill(buffer, plan.edge_weights(raw), bias.detach().numpy()[plan.bias_slots])
        parameters = {g.start: np.ascontiguousarray(stored[g.type.name][g.slots].T) for g in layout.own}
        run = SequenceRun(plan, layout, buffer, parameters)
        outputs, after = run.forward(
            observations.numpy(), memory.numpy(), None if keep is None else keep.numpy()
        )
        held.append(run)
        ctx.run, ctx.types, ctx.layout = run, types, layout
        # values are read again when going back: how a weight in effect changes with what is stored
        ctx.raw = raw[plan.edge_slots] if layout.constrained else None
        ctx.shapes = [theta.shape, bias.shape, *(p.shape for p in own)]
        found, later = torch.from_numpy(outputs), torch.from_numpy(after)
        ctx.mark_non_differentiable(later)
        return found, later

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Any:  # type: ignore[override]
        run, plan = ctx.run, ctx.run.plan
        buffer, own, observations = run.backward(gradient.numpy())
        arrays = [np.zeros(shape, buffer.dtype) for shape in ctx.shapes]
        by_weight = buffer[plan.edge_cells]
        if ctx.raw is not None:
            by_weight *= weights.slope(ctx.raw, plan.edge_forms, plan.edge_signs)
        arrays[0][plan.edge_slots] = by_weight
        arrays[1][plan.bias_slots] = buffer[plan.bias_cells]
        of = dict(zip(ctx.types, arrays[2:], strict=True))
        for g in ctx.layout.own:
            of[g.type.name][g.slots] = own[g.start].T
        return None, torch.from_numpy(observations), None, None, *map(torch.from_numpy, arrays)
