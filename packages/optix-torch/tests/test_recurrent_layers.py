"""Recurrent layers: numpy steps, written-out gradients and padded kernels are PyTorch's own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from optix_core.errors import ConfigError
from optix_torch.networks import bptt
from optix_torch.networks.recurrent import Recurrent, recurrent_layer, recurrent_spec
from optix_torch.policy_gradient.sequences import Sequences
from optix_torch.training.flat import FlatParameters

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}


def layer(cell, *, layers=1, inputs=3, size=5, dtype=torch.float64, seed=0, batch_first=True):
    """A layer with random weights and biases, drawn apart from the global generator."""
    module = KINDS[cell](inputs, size, layers, batch_first=batch_first, dtype=dtype, device="meta").to_empty(
        device="cpu"
    )
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.5)
    return module


def packed_data(cell, lengths, *, layers=1, inputs=3, size=5, dtype=torch.float64):
    """Sequences, packed observations ``[R, in]``, memory ``[S, M]`` and weights ``[R, H]`` for a loss."""
    sequences = Sequences(np.arange(len(lengths)), np.array(lengths), len(lengths))
    packed = sequences.pack(np.arange(len(lengths)))
    g = torch.Generator().manual_seed(1)
    rows, states = len(packed.rows), layers * (2 if cell == "lstm" else 1)
    x = torch.randn(rows, inputs, generator=g, dtype=dtype)
    memory = torch.randn(len(lengths), states * size, generator=g, dtype=dtype)
    return packed, x, memory, torch.randn(rows, size, generator=g, dtype=dtype)


def reference(module, cell, packed, x, memory):
    states = (
        memory.view(len(memory), -1, module.num_layers, module.hidden_size).permute(1, 2, 0, 3).contiguous()
    )
    begin = (states[0], states[1]) if cell == "lstm" else states[0]
    return module(PackedSequence(x, torch.tensor(packed.counts)), begin)[0].data


@pytest.mark.parametrize("lengths", [[1], [4, 4, 4], [7, 7, 4, 2, 1], [3, 1, 1]])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_written_out_gradients_are_automatic_ones(cell, lengths):
    module = layer(cell)
    packed, x, memory, weights = packed_data(cell, lengths)
    x.requires_grad_()
    found = []
    for out in (
        reference(module, cell, packed, x, memory),
        getattr(bptt, cell)(x, memory, packed.counts, list(module.parameters())),
    ):
        (out * weights).sum().backward()
        found.append([out.detach(), x.grad.clone(), *(p.grad.clone() for p in module.parameters())])
        x.grad = None
        module.zero_grad()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "lengths", [[6, 6, 6], [6, 5, 1], [6, 1, 1, 1, 1, 1]]
)  # full, half full, nearly empty
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_sequences_with_gradients_are_pytorchs(cell, lengths, layers, batch_first):
    module = layer(cell, layers=layers, dtype=torch.float32, batch_first=batch_first)
    packed, x, memory, weights = packed_data(cell, lengths, layers=layers, dtype=torch.float32)
    expected = reference(module, cell, packed, x, memory)
    (expected * weights).sum().backward()
    gradients = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    flat = FlatParameters(list(module.parameters()))
    out = Recurrent(module, None, flat).run(x, memory, packed)
    (out * weights).sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(flat.grad, gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-7), (torch.float32, 1e-6)])
def test_steps_in_numpy_are_pytorchs(cell, layers, dtype, tolerance):
    """Memory between steps is float32, whatever the parameters are."""
    module = layer(cell, layers=layers, dtype=dtype)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(0.5)
    recurrent = Recurrent(module, None, FlatParameters(list(module.parameters())))
    x = np.random.default_rng(0).standard_normal((4, 30, 3)).astype(np.float32)
    expected = module(torch.from_numpy(x).to(dtype))[0].detach().numpy()
    memory = np.zeros((4, recurrent.spec.memory_size), np.float32)
    for t in range(30):
        after = np.empty_like(memory)
        np.testing.assert_allclose(
            recurrent.step(x[:, t], memory, after), expected[:, t], rtol=0, atol=tolerance
        )
        memory = after


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_begin_uniform_and_leave_the_global_stream_alone(cell):
    state = torch.random.get_rng_state()
    module = recurrent_layer(cell, 30, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.random.get_rng_state())
    values = torch.cat([p.detach().reshape(-1) for p in module.parameters()]) * 8.0  # the square root of 64
    assert -1.0 <= values.min() < -0.999
    assert 0.999 < values.max() <= 1.0
    assert abs(float(values.mean())) < 0.02
    assert abs(float(values.std()) - 3**-0.5) < 0.01
    again = recurrent_layer(cell, 30, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.weight_hh_l0, module.weight_hh_l0)


def test_what_cannot_be_followed_step_by_step_is_refused():
    for module, text in (
        (nn.RNN(2, 3), "must be an nn.LSTM or an nn.GRU"),
        (nn.Linear(2, 3), "must be an nn.LSTM or an nn.GRU"),
        (nn.LSTM(2, 3, bidirectional=True), "bidirectional=True"),
        (nn.LSTM(2, 3, 2, dropout=0.1), "dropout=0.1"),
        (nn.LSTM(2, 3, proj_size=2), "proj_size=2"),
        (nn.GRU(2, 3, bias=False), "bias=False"),
    ):
        with pytest.raises(ConfigError, match=text):
            recurrent_spec(module)
    frozen = nn.GRU(2, 3)
    frozen.weight_hh_l0.requires_grad_(requires_grad=False)
    with pytest.raises(ConfigError, match="frozen"):
        recurrent_spec(frozen)
    for cell, size, text in (
        ("rnn", 4, "lstm, gru"),
        ("gru", 0, "memory_size"),
        ("gru", True, "memory_size"),
    ):
        with pytest.raises(ConfigError, match=text):
            recurrent_layer(cell, 2, size, generator=torch.Generator())
