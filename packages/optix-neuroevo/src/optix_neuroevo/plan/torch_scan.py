"""Whole sequences step by step in PyTorch: any device, any neuron type, gradients by autograd."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from optix_neuroevo.neurons.activations import torch_function
from optix_neuroevo.plan.torch_weights import Gather, TorchMaths

_MATHS = TorchMaths()


def torch_scan(
    gather: Gather,
    buffer: Tensor,
    own: Mapping[int, Tensor],
    observations: Tensor,
    memory: Tensor,
    keep: Tensor | None,
    inputs: list[Tensor] | None = None,
    activity: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run T steps of B environments.

    Args:
        gather: Indices of the plan.
        buffer: Weights of all levels.
        own: Parameters ``[K, n]`` of groups by first row.
        observations: ``[T, B, n_in]``.
        memory: ``[B, M]``; gradients do not flow into it.
        keep: ``[T, B]`` 0 where memory is emptied before the step, else 1; None: 1 everywhere.
        inputs: Gets the weighted inputs ``[R, B]`` of every step, whose gradients are kept.
        activity: Gets the activations ``[columns, B]`` of every step.

    Returns:
        Outputs ``[T, B, n_out]`` and the memory after ``[B, M]``, cut off from the graph of gradients.
    """
    plan = gather.plan
    columns = memory.T.detach()
    past, held = columns[: plan.n_history], {
        g.start: [columns[row] for row in torch.from_numpy(g.variables).to(memory.device)]
        for level in plan.levels
        for g in level.groups
        if g.type.state
    }  # fmt: skip
    matrices = [
        buffer[lv.offset : lv.offset + (lv.stop - lv.start) * lv.columns].view(lv.stop - lv.start, lv.columns)
        for lv in plan.levels
    ]
    one = torch.ones(1, observations.shape[1], dtype=buffer.dtype, device=buffer.device)
    outputs: list[Tensor] = []
    kept: list[Tensor | None] = [None] * len(observations) if keep is None else list(keep.unbind(0))
    for observation, alive in zip(observations.unbind(0), kept, strict=True):
        if alive is not None:
            past = past * alive
            held = {start: [state * alive for state in states] for start, states in held.items()}
        z = torch.cat([one, past, observation.T])
        sums: list[Tensor] = []
        for level, matrix in zip(plan.levels, matrices, strict=True):
            x = matrix @ z
            if inputs is not None:
                x = x + 0.0 if x.requires_grad else x.clone().requires_grad_()
                x.retain_grad()
                sums.append(x)
            parts: list[Tensor] = []
            for g in level.groups:
                here = x[g.start - level.start : g.stop - level.start]
                if g.type.step is None:
                    function = torch_function(g.activation)
                    parts.append(here if function is None else function(here))
                    continue
                parameters = own[g.start].unsqueeze(-1).unbind(0) if g.start in own else ()
                states = held.get(g.start, [])
                if not g.type.is_recurrent:
                    states = [state.detach() for state in states]
                value, after = g.type.step(here, states, parameters, _MATHS)
                parts.append(value)
                if g.type.state:
                    held[g.start] = list(after)
            z = torch.cat([z, *parts])
        if inputs is not None:
            inputs.extend(sums)
        if activity is not None:
            activity.append(z.detach())
        outputs.append(z[gather.output_columns].T)
        past = z[gather.shift]
    after = torch.zeros_like(columns)
    after[: plan.n_history] = past.detach()
    for level in plan.levels:
        for g in level.groups:
            for row, state in zip(g.variables, held.get(g.start, []), strict=True):
                after[torch.from_numpy(row).to(after.device)] = state.detach()
    return torch.stack(outputs), after.T.contiguous()
