"""Perceptrons as single nodes: equal to autograd, layer by layer, in every mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optix_torch.flat import FlatParameters
from optix_torch.networks import standard_mlp
from optix_torch.perceptrons import Perceptrons

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
    closed, flat, modules, plain = stacked(make, shape, activation, k)
    generator = torch.Generator().manual_seed(3)
    for b in (8, 3, 8):
        x = torch.randn(b, shape[0], dtype=torch.float64, generator=generator)
        towards = torch.randn(k, b, shape[-1], dtype=torch.float64, generator=generator)
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        expected = torch.stack([m(theirs) for m in plain])
        found = closed(mine)
        assert torch.allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-13)
        flat.grad.zero_()
        for m in plain:
            m.zero_grad()
        (found.reshape(expected.shape) * towards).sum().backward()
        (expected * towards).sum().backward()
        assert torch.allclose(mine.grad, theirs.grad, rtol=0, atol=1e-12)
        for one, other in zip(modules, plain, strict=True):
            for p, q in zip(one.parameters(), other.parameters(), strict=True):
                assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("final", ACTIVATIONS)
def test_an_activation_behind_the_last_layer(make, final):
    closed, flat, modules, plain = stacked(make, (4, 6, 2), nn.ReLU, 1, final)
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    closed(x).square().sum().backward()
    plain[0](x).square().sum().backward()
    for p, q in zip(modules[0].parameters(), plain[0].parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)
    assert flat.grad.abs().sum() > 0


def test_frozen_weights_get_nothing_and_inputs_still_do(make):
    closed, flat, _, plain = stacked(make, (4, 6, 6, 1), nn.ReLU, 2)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    closed(x, frozen=True).sum().backward()
    (expected,) = torch.autograd.grad(sum(m(x).sum() for m in plain), x)
    assert torch.allclose(x.grad, expected, rtol=0, atol=1e-12)
    assert not flat.grad.any()


def test_gradients_accumulate_over_several_evaluations_before_one_backward(make):
    closed, _, modules, plain = stacked(make, (3, 5, 1), nn.Tanh, 1)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    first, second = closed(x[0]), closed(x[1])  # the first one's hidden layers must survive the second
    with torch.no_grad():
        closed(x[0] + 1.0)
    (first.square().sum() + second.sum()).backward()
    (plain[0](x[0]).square().sum() + plain[0](x[1]).sum()).backward()
    for p, q in zip(modules[0].parameters(), plain[0].parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


def test_results_are_not_overwritten(make):
    closed, *_ = stacked(make, (3, 5, 2), nn.ReLU, 2)
    with torch.no_grad():
        first = closed(torch.zeros(4, 3, dtype=torch.float64))
        kept = first.clone()
        closed(torch.ones(4, 3, dtype=torch.float64))
    assert torch.equal(first, kept)


def test_one_of_several_shares_their_weights_and_gradients(make):
    closed, _, modules, plain = stacked(make, (3, 5, 1), nn.ReLU, 2)
    x = torch.randn(4, 3, dtype=torch.float64)
    for k in (0, 1):
        closed.one(k)(x).sum().backward()
        plain[k](x).sum().backward()
    for one, other in zip(modules, plain, strict=True):
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, rtol=0, atol=1e-12)


def test_a_vector_of_another_length_is_refused(make):
    closed, flat, *_ = stacked(make, (3, 5, 1), nn.ReLU, 2)
    for k in (1, 3):
        with pytest.raises(ValueError, match="parameters"):
            Perceptrons(closed.spec, flat, k)
