"""Encoders give what the table in ``encoders.py`` says, or say what is wrong."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import nn

from optix_core.agents.inputs import hidden_widths
from optix_core.errors import ConfigError
from optix_core.rl.structured import element_dtype, pack
from optix_torch.networks.encoder_modules import Encoded, Flattened, NatureCNN, OneHot
from optix_torch.networks.encoders import network, observation_input
from optix_torch.networks.mlp import mlp, standard_mlp
from optix_torch.training.flat import FlatParameters

IMAGE = Box(0, 255, (44, 36, 3), np.uint8)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors(space, n=5, seed=0):
    """``n`` observations of ``space`` as agents hand them to modules."""
    space.seed(seed)
    dtype = element_dtype(space)
    drawn = [space.sample() for _ in range(n)]
    batch = np.stack([pack(x, dtype) if dtype.names else np.asarray(x) for x in drawn])
    return FlatParameters([nn.Parameter(torch.zeros(1))]).tensor(batch), drawn


FLAT = [
    (Box(-1, 1, (4,)), 4),
    (Box(-1, 1, (2, 3)), 6),
    (Box(-1, 1, ()), 1),
    (Box(-1, 1, (3, 20, 40)), 2400),
    (MultiBinary(5), 5),
    (MultiBinary((2, 3)), 6),
]


@pytest.mark.parametrize("space,width", FLAT)
def test_numbers_are_flattened(space, width):
    inputs = observation_input(space, generator=gen())
    assert (inputs.width, inputs.is_image, inputs.has_image) == (width, False, False)
    x, drawn = tensors(space)
    features = x if inputs.module is None else inputs.module(x)
    np.testing.assert_allclose(features, np.stack([np.ravel(row) for row in drawn]), rtol=1e-6)


def test_a_flat_box_needs_no_module_and_a_folded_one_still_makes_a_plain_perceptron():
    trunk = mlp((4, 8, 2), "tanh", output_gain=1.0, generator=gen())
    assert network(observation_input(Box(-1, 1, (4,)), generator=gen()), trunk) is trunk
    folded = network(observation_input(Box(-1, 1, (2, 2)), generator=gen()), trunk)
    assert standard_mlp(folded) is not None
    x = torch.randn(3, 2, 2, generator=gen())
    torch.testing.assert_close(folded(x), trunk(x.reshape(3, 4)))


def test_choices_are_one_hot():
    x, drawn = tensors(Discrete(4, start=-2), n=20)
    features = observation_input(Discrete(4, start=-2), generator=gen()).module(x)
    np.testing.assert_array_equal(features, np.eye(4)[np.array(drawn) + 2])
    space = MultiDiscrete([[2, 3], [1, 4]], start=[[5, 0], [0, -1]])
    x, drawn = tensors(space, n=20)
    features = observation_input(space, generator=gen()).module(x)
    expected = [
        np.concatenate([np.eye(n)[v] for n, v in zip([2, 3, 1, 4], (row - space.start).ravel(), strict=True)])
        for row in drawn
    ]
    np.testing.assert_array_equal(features, expected)


def test_a_choice_that_the_space_does_not_have_is_an_error():
    module = OneHot(np.array(3), np.array(0))
    with pytest.raises(RuntimeError, match="out of bounds"):
        module(torch.tensor([3.0]))


@pytest.mark.parametrize("shape", [(44, 36, 3), (3, 44, 36), (4, 84, 84), (84, 84, 1)])
def test_images_go_through_nature_cnn_channels_first_or_last(shape):
    space = Box(0, 255, shape, np.uint8)
    inputs = observation_input(space, generator=gen())
    assert (inputs.width, inputs.is_image, inputs.has_image) == (512, True, True)
    x, _ = tensors(space, n=2)
    features = inputs.module(x)
    assert features.shape == (2, 512)
    if shape[0] > shape[2]:  # the same network sees the same image whichever way it is stored
        first = NatureCNN((shape[2], *shape[:2]), generator=gen(), scale=1 / 255)
        torch.testing.assert_close(first(x.permute(0, 3, 1, 2)), features)


def test_nature_cnn_is_the_network_of_the_paper():
    """Parameters for 84 x 84 x 4 counted by hand: kernels and biases of three convolutions and one layer."""
    module = NatureCNN((4, 84, 84), generator=gen())
    sizes = [p.numel() for p in module.parameters()]
    assert sizes == [32 * 4 * 64, 32, 64 * 32 * 16, 64, 64 * 64 * 9, 64, 3136 * 512, 512]
    kernel = next(module.parameters()).detach().reshape(32, -1)
    torch.testing.assert_close(kernel @ kernel.T, 2.0 * torch.eye(32), atol=1e-4, rtol=0)


def test_pixels_are_scaled_by_their_bound_and_other_numbers_are_not():
    assert observation_input(IMAGE, generator=gen()).module.scale == pytest.approx(1 / 255)
    assert observation_input(Box(0, 255, (3, 40, 40)), generator=gen()).module.scale == pytest.approx(1 / 255)
    assert observation_input(Box(0, 1, (3, 40, 40)), generator=gen()).module.scale == 1.0
    assert observation_input(Box(-np.inf, np.inf, (3, 40, 40)), generator=gen()).module.scale == 1.0


def test_a_small_image_is_refused_with_what_to_do():
    small = Box(0, 255, (10, 40, 3), np.uint8)
    with pytest.raises(
        ConfigError, match=r"10 x 40 are too small.*36 x 36.*ResizeObservation.*'flatten'"
    ) as e:
        observation_input(small, generator=gen(), owner="PPO")
    assert "PPO" in e.value.__notes__[0]
    inputs = observation_input(small, "flatten", generator=gen())
    assert isinstance(inputs.module, Flattened)
    assert inputs.width == 1200
    assert observation_input(Box(0, 255, (36, 36, 1), np.uint8), generator=gen()).width == 512


MIXED = Dict(
    {
        "camera": IMAGE,
        "goal": Tuple((Discrete(3), Box(-1, 1, (2,)))),
        "keys": MultiBinary(2),  # the name of a method of ModuleDict
        "a.b": Box(-1, 1, (2, 2)),
    }
)


def test_parts_are_encoded_each_and_put_one_after_another():
    inputs = observation_input(MIXED, generator=gen())
    assert (inputs.is_image, inputs.has_image) == (False, True)
    x, drawn = tensors(MIXED)
    features = inputs.module(x).detach().numpy()
    assert features.shape == (5, inputs.width) == (5, 4 + 512 + 3 + 2 + 2)
    # gymnasium sorts keys: a.b, camera, goal, keys
    np.testing.assert_allclose(features[:, :4], [row["a.b"].ravel() for row in drawn], rtol=1e-6)
    np.testing.assert_array_equal(features[:, 516:519], [np.eye(3)[row["goal"][0]] for row in drawn])
    np.testing.assert_allclose(features[:, 519:521], [row["goal"][1] for row in drawn], rtol=1e-6)
    np.testing.assert_array_equal(features[:, 521:], [row["keys"] for row in drawn])


def test_masks_are_no_input():
    space = Dict({"observation": Box(-1, 1, (3,)), "action_mask": MultiBinary(4)})
    assert observation_input(space, generator=gen()).module is None
    assert observation_input(Dict({**space.spaces, "x": Box(-1, 1, (1,))}), generator=gen()).width == 8


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two = (observation_input(MIXED, generator=gen(7)).module for _ in range(2))
    other = observation_input(MIXED, generator=gen(8)).module
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(one.parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c)


def test_hidden_layers_are_left_out_only_behind_a_whole_image():
    image, mixed, flat = (observation_input(s, generator=gen()) for s in (IMAGE, MIXED, Box(-1, 1, (3,))))
    assert hidden_widths(image, None, (64, 64)) == ()
    assert hidden_widths(image, (32,), (64, 64)) == (32,)
    assert hidden_widths(mixed, None, (64, 64)) == hidden_widths(flat, None, (64, 64)) == (64, 64)
    assert hidden_widths(flat, (), (64, 64)) == ()


# --- the user's own ---------------------------------------------------------------------------------------------------


def small(space):
    return nn.Sequential(nn.Linear(space.shape[0], 7), nn.ReLU())


def test_a_module_a_function_and_its_name(monkeypatch):
    space = Box(-1, 1, (3,))
    monkeypatch.setitem(
        sys.modules, "my_encoders", SimpleNamespace(small=small, inner=SimpleNamespace(f=small))
    )
    module = nn.Sequential(nn.Linear(3, 7))
    for encoder in (module, small, "my_encoders:small", "my_encoders:inner.f"):
        inputs = observation_input(space, encoder, generator=gen())
        assert inputs.width == 7
        both = network(inputs, nn.Linear(7, 2))
        assert isinstance(both, Encoded)
        x = torch.randn(4, 3, generator=gen())
        torch.testing.assert_close(both(x), both.trunk(both.encoder(x)))
    copied = observation_input(space, module, generator=gen()).module
    assert copied is not module
    assert torch.equal(copied[0].weight, module[0].weight)


def test_what_a_factory_draws_is_seeded_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    g = gen(1)
    one, two = (observation_input(Box(-1, 1, (3,)), small, generator=g).module for _ in range(2))
    again = observation_input(Box(-1, 1, (3,)), small, generator=gen(1)).module
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0].weight, again[0].weight)
    assert not torch.equal(one[0].weight, two[0].weight)


def test_parts_can_have_encoders_of_their_own():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(44 * 36 * 3, 5))
    inputs = observation_input(MIXED, {"camera": linear, "goal": {"1": small}}, generator=gen())
    assert inputs.width == 4 + 5 + 3 + 7 + 2
    assert inputs.has_image
    x, _ = tensors(MIXED)
    assert inputs.module(x).shape == (5, inputs.width)
    with pytest.raises(ConfigError, match=r"names the parts \['lidar'\]"):
        observation_input(MIXED, {"lidar": small}, generator=gen())
    with pytest.raises(ConfigError, match="no parts"):
        observation_input(IMAGE, {"camera": small}, generator=gen())


class Keyed(nn.Module):
    def forward(self, observation):
        return torch.cat([observation["goal"]["1"], observation["keys"]], 1)


def test_a_module_for_the_whole_dict():
    inputs = observation_input(MIXED, lambda space: Keyed(), generator=gen())
    assert (inputs.width, inputs.has_image, inputs.is_image) == (4, True, False)


def broken(space):
    raise KeyError("lidar")


@pytest.mark.parametrize(
    "encoder,message",
    [
        (3, "encoder is 3; it must be an nn.Module, a callable"),
        ("nature", "must read 'package.module:callable'"),
        ("no_such_package.x:f", "cannot be imported: ModuleNotFoundError"),
        ("math:no_such_name", "cannot be imported: AttributeError"),
        (broken, "broken failed for Box observations: KeyError: 'lidar'"),
        (lambda space: 3, "returned int, expected an nn.Module"),
        (
            nn.Linear(4, 2),
            r"cannot read observations of Box\(3,\): it was given a torch.float32 tensor of shape",
        ),
        (nn.Unflatten(1, (3, 1)), r"of shape \(2, 3, 1\).*expected floating ones of shape \(2, F\)"),
        (nn.Flatten(0), r"of shape \(6,\)"),
    ],
)
def test_encoders_that_do_not_fit_are_refused_with_the_reason(encoder, message):
    with pytest.raises(ConfigError, match=message):
        observation_input(Box(-1, 1, (3,)), encoder, generator=gen())


def test_probing_leaves_a_module_as_it_was():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    inputs = observation_input(Box(1, 2, (3,)), module, generator=gen())
    assert inputs.module.training
    torch.testing.assert_close(inputs.module[0].running_mean, torch.zeros(3))
