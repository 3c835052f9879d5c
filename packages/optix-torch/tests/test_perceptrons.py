"""Gradients written out: equal to autograd, layer by layer, in every mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optix_torch.continuous.perceptrons import Perceptrons
from optix_torch.networks.mlp import standard_mlp
from optix_torch.training.flat import FlatParameters

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.ELU, nn.Sigmoid]
SHAPES = [(5, 1), (3, 7, 1), (4, 6, 6, 2), (9, 5, 12, 3, 1)]


def stacked(make, shape, activation, k, final=None):
    modules = [make.sequential(*shape, activation=activation, seed=s, dtype=torch.float64) for s in range(k)]
    if final is not None:
        modules = [nn.Sequential(*m, final()) for m in modules]
    plain = copy.deepcopy(modules)
    shapes = [standard_mlp(m) for m in modules]
    flat = FlatParameters([p for same in zip(*(s[1] for s in shapes), strict=True) for p in same])
    return Perceptrons(shapes[0][0], flat, k), flat, modules, plain


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_gradients_are_those_of_autograd(make, k, shape, activation):
    closed, _, modules, plain = stacked(make, shape, activation, k)
    generator = torch.Generator().manual_seed(3)
    for b in (8, 3, 8):
        x = torch.randn(b, shape[0], dtype=torch.float64, generator=generator)
        towards = torch.randn(k, b, shape[-1], dtype=torch.float64, generator=generator)
        expected = torch.stack([m(x) for m in plain])
        found = closed.forward(x)
        assert torch.allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-13)
        for m in plain:
            m.zero_grad()
        closed.backward(towards.reshape(found.shape))
        (expected * towards).sum().backward()
        for one, other in zip(modules, plain, strict=True):
            for p, q in zip(one.parameters(), other.parameters(), strict=True):
                assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[-1] == 1])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_are_those_of_the_chosen_output(make, k, shape, activation):
    closed, flat, _, plain = stacked(make, shape, activation, k)
    generator = torch.Generator().manual_seed(3)
    for chosen in (torch.arange(7) % k, torch.full((7,), k - 1), None):
        x = torch.randn(7, shape[0], dtype=torch.float64, generator=generator, requires_grad=True)
        every = torch.stack([m(x).squeeze(1) for m in plain])
        own = every[0] if chosen is None else every.gather(0, chosen[None])
        (expected,) = torch.autograd.grad(own.sum(), x)
        for start in (0, shape[0] - 1):
            closed.forward(x.detach())
            found = closed.slopes(chosen, start)
            assert torch.allclose(found, expected[:, start:], rtol=0, atol=1e-12)
    assert not flat.grad.any()


@pytest.mark.parametrize("final", ACTIVATIONS)
def test_an_activation_behind_the_last_layer(make, final):
    closed, flat, modules, plain = stacked(make, (4, 6, 2), nn.ReLU, 1, final)
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    closed.backward(2.0 * closed.forward(x))
    plain[0](x).square().sum().backward()
    for p, q in zip(modules[0].parameters(), plain[0].parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)
    assert flat.grad.abs().sum() > 0


def test_a_backward_pass_may_follow_for_the_first_rows_alone(make):
    closed, _, modules, plain = stacked(make, (3, 5, 6, 2), nn.Tanh, 1)
    x = torch.randn(8, 3, dtype=torch.float64)
    towards = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(closed.forward(x, 5), plain[0](x), rtol=0, atol=1e-13)
    closed.backward(towards)
    (plain[0](x[:5]) * towards).sum().backward()
    for p, q in zip(modules[0].parameters(), plain[0].parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


def test_a_backward_pass_without_its_forward_pass_is_refused(make):
    closed, flat, *_ = stacked(make, (3, 5, 1), nn.Tanh, 1)
    copied = FlatParameters([nn.Parameter(flat.vector.detach().clone())])
    beside = Perceptrons(closed.spec, copied, memory=closed)
    x, slope = torch.ones(4, 3, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="forward pass"):  # none yet
        closed.backward(slope)
    closed.forward(x)
    closed.backward(slope)
    with pytest.raises(RuntimeError, match="forward pass"):  # used up
        closed.backward(slope)
    closed.forward(x)
    beside.forward(x)
    with pytest.raises(RuntimeError, match="forward pass"):  # another one has the memory now
        closed.backward(slope)


def test_results_are_not_overwritten(make):
    closed, *_ = stacked(make, (3, 5, 2), nn.ReLU, 2)
    first = closed.forward(torch.zeros(4, 3, dtype=torch.float64))
    kept = first.clone()
    closed.forward(torch.ones(4, 3, dtype=torch.float64))
    assert torch.equal(first, kept)


def test_one_of_several_shares_their_weights_and_gradients(make):
    closed, _, modules, plain = stacked(make, (3, 5, 1), nn.ReLU, 2)
    x = torch.randn(4, 3, dtype=torch.float64)
    for k in (0, 1):
        alone = closed.one(k)
        alone.forward(x)
        alone.backward(torch.ones(4, 1, dtype=torch.float64))
        plain[k](x).sum().backward()
    for one, other in zip(modules, plain, strict=True):
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


def test_a_vector_of_another_length_is_refused(make):
    closed, flat, *_ = stacked(make, (3, 5, 1), nn.ReLU, 2)
    for k in (1, 3):
        with pytest.raises(ValueError, match="parameters"):
            Perceptrons(closed.spec, flat, k)
