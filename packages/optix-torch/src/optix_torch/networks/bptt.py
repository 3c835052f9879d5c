"""Recurrent layers over many sequences at once, with the gradients written out in numpy (CPU).

On a CPU, PyTorch's own layers are quick only for an LSTM whose sequences are all equally long; here lengths cost
nothing, and the backward pass through time is a few array operations per step. Sequences are *packed* as PyTorch packs
them: sorted from long to short, first all their first steps, then the second steps of those that have one, and so on;
``counts[t]`` is how many have a step t. Equations are those of ``optix_core.acting.recurrent``, differentiated by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def lstm(inputs: Tensor, memory: Tensor, counts: Sequence[int], parameters: Sequence[Tensor]) -> Tensor:
    """Outputs ``[R, H]`` of one LSTM layer for packed ``inputs`` ``[R, in]``.

    Args:
        inputs: R rows in all.
        memory: ``[S, 2 H]`` h and c before each sequence; constants, no gradient flows into them.
        counts: Sequences that have step t, for each t; never increasing, from S on.
        parameters: ``weight_ih, weight_hh, bias_ih, bias_hh`` as ``torch.nn.LSTM`` has them.
    """
    out: Tensor = _LSTM.apply(inputs, memory, counts, *parameters)
    return out


def gru(inputs: Tensor, memory: Tensor, counts: Sequence[int], parameters: Sequence[Tensor]) -> Tensor:
    """The same for a GRU layer; ``memory`` ``[S, H]``."""
    out: Tensor = _GRU.apply(inputs, memory, counts, *parameters)
    return out


def _steps(counts: Sequence[int]) -> list[tuple[int, slice]]:
    """``(sequences, their rows)`` for each time step."""
    found, start = [], 0
    for count in counts:
        found.append((count, slice(start, start + count)))
        start += count
    return found


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, memory: Tensor, counts: Sequence[int], *parameters: Tensor
    ) -> Tensor:
        x, w_input, w_hidden, b_input, b_hidden = (a.detach().numpy() for a in (inputs, *parameters))
        size, dtype, steps = w_hidden.shape[1], x.dtype, _steps(counts)
        is_sigmoid = np.repeat(np.array([True, True, False, True]), size)
        scale, offset = (
            np.where(is_sigmoid, 0.5, 1.0).astype(dtype),
            np.where(is_sigmoid, 0.5, 0.0).astype(dtype),
        )
        gates = x @ w_input.T
        gates += b_input + b_hidden
        h, c = memory[:, :size].numpy().astype(dtype), memory[:, size:].numpy().astype(dtype)
        hs, cs, tanh_cs, before, c_before = (np.empty((len(x), size), dtype) for _ in range(5))
        weight = np.ascontiguousarray(w_hidden.T)  # a quarter of the time for few sequences
        for count, rows in steps:
            h, c = h[:count], c[:count]
            before[rows], c_before[rows] = h, c
            g = gates[rows]
            g += h @ weight
            g *= scale
            np.tanh(g, out=g)
            g *= scale
            g += offset
            now, h = cs[rows], hs[rows]
            np.multiply(g[:, size : 2 * size], c, out=now)
            now += g[:, :size] * g[:, 2 * size : 3 * size]
            np.tanh(now, out=tanh_cs[rows])
            np.multiply(tanh_cs[rows], g[:, 3 * size :], out=h)
            c = now
        ctx.kept = (x, steps, gates, tanh_cs, before, c_before, w_input, w_hidden)
        return torch.from_numpy(hs)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> Any:
        x, steps, gates, tanh_c, before, c_before, w_input, w_hidden = ctx.kept
        d_h, size = d_outputs[0].numpy(), w_hidden.shape[1]
        i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
        # what d loss/dc (first three) and d loss/dh (the last) are multiplied by on the way to each gate's input
        slopes = np.empty((len(x), 4, size), x.dtype)
        slopes[:, 0] = g * (i - i * i)
        slopes[:, 1] = c_before * (f - f * f)
        slopes[:, 2] = i * (1.0 - g * g)
        slopes[:, 3] = tanh_c * (o - o * o)
        into_c = o * (1.0 - tanh_c * tanh_c)
        d_gates = slopes  # overwritten step by step
        later_h = later_c = np.empty((0, size), x.dtype)
        for count, rows in reversed(steps):
            dh = d_h[rows].copy()
            dh[: len(later_h)] += later_h
            dc = dh * into_c[rows]
            dc[: len(later_c)] += later_c
            d = d_gates[rows]
            d[:, :3] *= dc[:, None]
            d[:, 3] *= dh
            later_c = dc * f[rows]
            later_h = d.reshape(count, -1) @ w_hidden
        flat = d_gates.reshape(len(x), -1)
        bias = torch.from_numpy(flat.sum(axis=0))
        d_x = torch.from_numpy(flat @ w_input) if ctx.needs_input_grad[0] else None
        return (
            d_x,
            None,
            None,
            torch.from_numpy(flat.T @ x),
            torch.from_numpy(flat.T @ before),
            bias,
            bias.clone(),
        )


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, memory: Tensor, counts: Sequence[int], *parameters: Tensor
    ) -> Tensor:
        x, w_input, w_hidden, b_input, b_hidden = (a.detach().numpy() for a in (inputs, *parameters))
        size, dtype, steps = w_hidden.shape[1], x.dtype, _steps(counts)
        gates = x @ w_input.T  # reset, update, new
        gates += b_input
        h = memory.numpy().astype(dtype)
        hs, before, recalled = (np.empty((len(x), size), dtype) for _ in range(3))
        weight = np.ascontiguousarray(w_hidden.T)  # a quarter of the time for few sequences
        for count, rows in steps:
            h = h[:count]
            before[rows] = h
            from_hidden = h @ weight
            from_hidden += b_hidden
            recalled[rows] = from_hidden[:, 2 * size :]
            g = gates[rows]
            ru, new = g[:, : 2 * size], g[:, 2 * size :]
            ru += from_hidden[:, : 2 * size]
            ru *= 0.5
            np.tanh(ru, out=ru)
            ru *= 0.5
            ru += 0.5
            new += ru[:, :size] * recalled[rows]
            np.tanh(new, out=new)
            now = np.subtract(h, new, out=hs[rows])
            now *= ru[:, size:]
            now += new
            h = now
        ctx.kept = (x, steps, gates, before, recalled, w_input, w_hidden)
        return torch.from_numpy(hs)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> Any:
        x, steps, gates, before, recalled, w_input, w_hidden = ctx.kept
        d_h, size = d_outputs[0].numpy(), w_hidden.shape[1]
        r, u, new = (gates[:, k * size : (k + 1) * size] for k in range(3))
        # what d loss/dh is multiplied by on the way to each gate's input, and to the recurrent part of the new gate
        into_new = (1.0 - u) * (1.0 - new * new)
        slopes = np.empty((len(x), 3, size), x.dtype)
        slopes[:, 0] = into_new * recalled * (r - r * r)
        slopes[:, 1] = (before - new) * (u - u * u)
        slopes[:, 2] = into_new * r
        d_hidden = slopes  # by what the recurrent product gave; overwritten step by step
        totals = np.empty((len(x), size), x.dtype)
        later = np.empty((0, size), x.dtype)
        for count, rows in reversed(steps):
            dh = totals[rows]
            dh[:] = d_h[rows]
            dh[: len(later)] += later
            d = d_hidden[rows]
            d *= dh[:, None]
            later = d.reshape(count, -1) @ w_hidden
            later += dh * u[rows]
        d_input = d_hidden.copy()
        d_input[:, 2] = totals * into_new
        flat, flat_hidden = d_input.reshape(len(x), -1), d_hidden.reshape(len(x), -1)
        d_x = torch.from_numpy(flat @ w_input) if ctx.needs_input_grad[0] else None
        weights = torch.from_numpy(flat.T @ x), torch.from_numpy(flat_hidden.T @ before)
        return d_x, None, None, *weights, torch.from_numpy(flat.sum(0)), torch.from_numpy(flat_hidden.sum(0))
