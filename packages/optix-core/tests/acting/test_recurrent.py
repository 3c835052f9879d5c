"""Recurrent cells: against their equations written out one number at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optix_core.acting import RecurrentCell, RecurrentSpec


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def lstm_by_hand(x, h, c, w_ih, w_hh, b_ih, b_hh):
    size = len(h)
    z = [
        sum(w_ih[k][j] * x[j] for j in range(len(x)))
        + sum(w_hh[k][j] * h[j] for j in range(size))
        + b_ih[k]
        + b_hh[k]
        for k in range(4 * size)
    ]
    new_h, new_c = [], []
    for k in range(size):
        i, f, g, o = sigmoid(z[k]), sigmoid(z[size + k]), math.tanh(z[2 * size + k]), sigmoid(z[3 * size + k])
        new_c.append(f * c[k] + i * g)
        new_h.append(o * math.tanh(new_c[-1]))
    return new_h, new_c


def gru_by_hand(x, h, w_ih, w_hh, b_ih, b_hh):
    size = len(h)
    a = [sum(w_ih[k][j] * x[j] for j in range(len(x))) + b_ih[k] for k in range(3 * size)]
    b = [sum(w_hh[k][j] * h[j] for j in range(size)) + b_hh[k] for k in range(3 * size)]
    new_h = []
    for k in range(size):
        r, z = sigmoid(a[k] + b[k]), sigmoid(a[size + k] + b[size + k])
        n = math.tanh(a[2 * size + k] + r * b[2 * size + k])
        new_h.append((1 - z) * n + z * h[k])
    return new_h


def make(cell, layers=1, dtype=np.float64):
    spec = RecurrentSpec(cell, 3, 4, layers)
    parameters = np.random.default_rng(0).standard_normal(spec.layout.size).astype(dtype)
    return spec, parameters, spec.layout.views(parameters)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_one_layer_is_its_equations(cell):
    spec, parameters, arrays = make(cell)
    rng = np.random.default_rng(1)
    x, memory = rng.standard_normal((5, 3)), rng.standard_normal((5, spec.memory_size))
    after = np.empty_like(memory)
    out = RecurrentCell(spec, parameters).step(x, memory, after)
    for n in range(5):
        if cell == "lstm":
            h, c = lstm_by_hand(x[n], memory[n, :4], memory[n, 4:], *arrays.values())
            np.testing.assert_allclose(after[n], h + c, atol=1e-14)
        else:
            h = gru_by_hand(x[n], memory[n], *arrays.values())
            np.testing.assert_allclose(after[n], h, atol=1e-14)
        np.testing.assert_allclose(out[n], h, atol=1e-14)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_two_layers_are_one_above_the_other(cell):
    spec, parameters, _ = make(cell, layers=2)
    one, two = RecurrentSpec(cell, 3, 4), RecurrentSpec(cell, 4, 4)
    cut = one.layout.size
    rng = np.random.default_rng(2)
    x, memory = rng.standard_normal((6, 3)), rng.standard_normal((6, spec.memory_size))
    after = np.empty_like(memory)
    out = RecurrentCell(spec, parameters).step(x, memory, after)
    blocks = memory.reshape(6, -1, 2, 4)  # h, c; layer by layer
    between = after.reshape(6, -1, 2, 4)[:, 0, 0]
    for layer, below, size, piece in ((0, x, one, parameters[:cut]), (1, between, two, parameters[cut:])):
        own = np.empty((6, size.memory_size))
        h = RecurrentCell(size, piece).step(below, blocks[:, :, layer].reshape(6, -1), own)
        np.testing.assert_array_equal(own.reshape(6, -1, 4), after.reshape(6, -1, 2, 4)[:, :, layer])
    np.testing.assert_array_equal(out, h)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_nothing_is_written_but_after_and_the_parameters_are_seen_as_they_are(cell):
    spec, parameters, _ = make(cell, dtype=np.float32)
    stepped = RecurrentCell(spec, parameters)
    x, memory = np.ones((2, 3), np.float32), np.ones((2, spec.memory_size), np.float32)
    x.flags.writeable = memory.flags.writeable = False
    first, after = np.empty_like(memory), np.empty_like(memory)
    kept = stepped.step(x, memory, first).copy()
    out = stepped.step(x, memory, after)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, kept)
    parameters *= 0.5
    assert not np.array_equal(stepped.step(x, memory, after), kept)
    np.testing.assert_array_equal(first[:, :4], kept)  # earlier results stay


@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_extreme_inputs_overflow_nothing(cell, scale):
    spec, parameters, _ = make(cell, dtype=np.float32)
    after = np.empty((1, spec.memory_size), np.float32)
    with np.errstate(all="raise", under="ignore"):
        out = RecurrentCell(spec, parameters).step(np.full((1, 3), scale), np.zeros_like(after), after)
    assert np.abs(out).max() <= 1.0


def test_wrong_widths_are_refused():
    spec, parameters, _ = make("gru")
    cell, after = RecurrentCell(spec, parameters), np.empty((2, 4))
    with pytest.raises(ValueError, match="1 features, expected 3"):
        cell.step(np.zeros((2, 1)), np.zeros((2, 4)), after)
    with pytest.raises(ValueError, match=r"memory has shape \(2, 1\), expected \(2, 4\)"):
        cell.step(np.zeros((2, 3)), np.zeros((2, 1)), after)
    with pytest.raises(ValueError, match="unknown cell"):
        RecurrentSpec("rnn", 1, 1)
    with pytest.raises(ValueError, match="positive"):
        RecurrentSpec("gru", 1, 0)
