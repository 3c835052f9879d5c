"""The standard agents' parts, with builders that only write down what they were asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from optix_core.agents.standard import action_values, continuous, policy_gradient
from optix_core.agents.standard.builders import Builders, device_for
from optix_core.errors import ConfigError, HyperparamError, SpaceError
from optix_core.plugin import AgentContext

VECTOR = Box(-1.0, 1.0, (5,))
IMAGE = Box(0, 255, (40, 40, 3), np.uint8)
BOX = Box(-2.0, 2.0, (3,))
KINDS = frozenset({"discrete", "multi_discrete", "multi_binary", "box"})


class Asked:
    """Builders, and what they were asked for."""

    def __init__(self):
        self.inputs, self.networks = [], []
        self.builders = Builders(
            observation_input=self.observation_input, activations=("tanh", "relu"), adam=lambda *of: of
        )

    def observation_input(self, space, encoder, *, rng, owner):
        del encoder, owner
        image = len(getattr(space, "shape", None) or ()) == 3
        made = SimpleNamespace(width=512 if image else 5, is_image=image, has_image=image, draw=rng.random())
        self.inputs.append(made)
        return made

    def network(self, *given, **named):
        self.networks.append((given, named))
        return {"networks": len(self.networks)}


def context(space=VECTOR, actions=None, *, device="auto", seed=3, **hyperparams):
    return AgentContext(
        observation_space=space, action_space=actions, seed=seed, device=device, hyperparams=hyperparams
    )


def q_parts(ctx, **options):
    asked = Asked()
    return action_values.q_parts(ctx, "DQN", asked.builders, asked.network, **options), asked


def ppo_parts(ctx, **options):
    asked = Asked()
    return policy_gradient.ppo_parts(ctx, "PPO", asked.builders, asked.network, KINDS, **options), asked


def box_parts(kind, ctx, **options):
    asked = Asked()
    make = {"SAC": continuous.sac_parts, "TD3": continuous.td3_parts}[kind]
    return make(ctx, kind, asked.builders, asked.network, asked.network, **options), asked


def test_dqn_has_two_layers_of_128_behind_numbers_and_none_behind_an_image():
    parts, asked = q_parts(context(actions=Discrete(4), learning_rate=0.01))
    (inputs, n, hidden, activation), named = asked.networks[0]
    assert (inputs, n, hidden, activation) == (asked.inputs[0], 4, (128, 128), "relu")
    assert not named["dueling"]
    assert parts["optimizer"] == (0.01, 1e-8)
    assert (parts["n_actions"], parts["seed"], parts["device"], parts["replay"]) == (4, 3, "cpu", None)
    parts, asked = q_parts(context(IMAGE, Discrete(4)), dueling=True)
    assert asked.networks[0][0][2] == ()
    assert asked.networks[0][1]["dueling"]
    assert parts["device"] == "auto"


def test_dqn_standardises_numbers_only():
    parts, _ = q_parts(context(actions=Discrete(4)), normalize_observations=True)
    assert parts["observation_normalizer"] is not None
    assert q_parts(context(actions=Discrete(4)))[0]["observation_normalizer"] is None
    for space in (IMAGE, Dict({"a": VECTOR, "b": Discrete(2)})):
        with pytest.raises(ConfigError, match="normalize_observations"):
            q_parts(context(space, Discrete(4)), normalize_observations=True)


@pytest.mark.parametrize("kind, outputs", [("SAC", 2), ("TD3", 1)])
def test_sac_and_td3_have_three_perceptrons_with_encoders_of_their_own(kind, outputs):
    parts, asked = box_parts(kind, context(actions=BOX, learning_rate=0.01))
    (actor_inputs, actor_widths, *_), named = asked.networks[0]
    (critic_inputs, critic_widths, *_), _ = asked.networks[1]
    assert actor_widths == (5, 256, 256, outputs * 3)
    assert named == {"squash": kind == "TD3"}
    assert critic_widths == (5 + 3, 256, 256, 1)
    assert (actor_inputs, critic_inputs) == tuple(asked.inputs)
    assert actor_inputs.draw != critic_inputs.draw
    assert parts["actor_optimizer"] == parts["critic_optimizer"] == (0.01, 1e-8)
    assert (parts["action_dim"], parts["networks"], parts["hyperparams"]["learning_rate"]) == (3, 2, 0.01)
    image, _ = box_parts(kind, context(IMAGE, BOX), normalize_observations=True)
    assert image["observation_normalizer"] is None  # its encoder scales it


@pytest.mark.parametrize("kind", ["SAC", "TD3"])
def test_sac_and_td3_need_bounds(kind):
    with pytest.raises(SpaceError, match="no finite bounds"):
        box_parts(kind, context(actions=Box(-np.inf, np.inf, (2,))))


def test_ppo_reads_observations_again_for_its_critic_if_it_is_asked_to():
    parts, asked = ppo_parts(context(actions=BOX), normalize_rewards=True, normalize_observations=True)
    (inputs, again, widths, outputs, activation), named = asked.networks[0]
    assert (inputs, widths, outputs, activation) == (asked.inputs[0], (5, 64, 64), 3, "tanh")
    assert named["gaussian"]
    assert again() is asked.inputs[1]
    assert asked.inputs[0].draw != asked.inputs[1].draw
    assert parts["optimizer"][1] == 1e-5
    assert parts["reward_normalizer"].gamma == parts["hyperparams"]["gamma"]
    assert parts["observation_normalizer"] is not None


def test_ppo_goes_from_an_image_straight_to_its_outputs_unless_layers_are_given():
    assert ppo_parts(context(IMAGE, Discrete(4)))[1].networks[0][0][2] == (512,)
    assert ppo_parts(context(IMAGE, Discrete(4)), hidden_sizes=(7,))[1].networks[0][0][2] == (512, 7)
    assert not ppo_parts(context(IMAGE, Discrete(4)))[1].networks[0][1]["gaussian"]


def test_ppo_refuses_masks_of_numbers():
    masked = Dict({"observation": VECTOR, "action_mask": Box(0, 1, (3,), np.int8)})
    with pytest.raises(SpaceError, match="no separate choices to mask"):
        ppo_parts(context(masked, BOX))
    parts, _ = ppo_parts(context(masked, Discrete(3)))
    assert parts["observation_space"] is masked


@pytest.mark.parametrize("make", [
    lambda **options: q_parts(context(actions=Discrete(3)), **options),
    lambda **options: ppo_parts(context(actions=Discrete(3)), **options),
    lambda **options: box_parts("SAC", context(actions=BOX), **options),
])  # fmt: skip
def test_bad_architectures_are_refused(make):
    with pytest.raises(ConfigError, match="hidden_sizes"):
        make(hidden_sizes=(0,))
    with pytest.raises(ConfigError, match="tanh, relu"):
        make(activation="sine")
    with pytest.raises(TypeError, match="nonsense"):
        make(nonsense=1)


def test_unknown_hyperparameters_and_wrong_actions_are_refused():
    with pytest.raises(HyperparamError):
        q_parts(context(actions=Discrete(3), nonsense=1))
    for actions, make in ((BOX, q_parts), (Discrete(3), lambda ctx: box_parts("TD3", ctx))):
        with pytest.raises(SpaceError):
            make(context(actions=actions))


@pytest.mark.parametrize("seed", [0, 7])
def test_weights_are_drawn_from_the_seed(seed):
    first, second = (ppo_parts(context(actions=BOX, seed=seed))[1] for _ in range(2))
    assert first.inputs[0].draw == second.inputs[0].draw
    assert ppo_parts(context(actions=BOX, seed=seed + 1))[1].inputs[0].draw != first.inputs[0].draw


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_is_named_is_taken(device):
    for has_image in (False, True):
        assert device_for(context(device=device), SimpleNamespace(has_image=has_image)) == device
