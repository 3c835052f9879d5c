"""What agents of every framework share: step logs, draws, plans of inputs, mirrors, policies, weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from optix_core.agents.draws import draw, stacked
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.inputs import hidden_widths, plan_input, probe, require_architecture
from optix_core.agents.mirror import Mirror
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.steps import StepLog
from optix_core.agents.weights import mean_of, read_tensors, write_tensors
from optix_core.errors import ConfigError, IncompatibleCheckpoint, NonFiniteState, NumericalDivergence
from optix_core.replay import PrioritizedReplay, ReplayBuffer
from optix_core.rl.masking import with_masks

NAN = math.nan


def test_a_step_log_skips_and_diverges_after_three_in_a_row():
    log = StepLog()
    assert [log.allows(n) for n in (1.0, NAN, NAN, 2.0, NAN, math.inf)] == [1, 0, 0, 1, 0, 0]
    assert not log.diverged
    assert not log.allows(NAN)
    assert log.diverged
    report = log.report()
    assert (report["n_updates"], report["n_skipped"]) == (2, 5)
    assert math.isnan(report["loss"])
    assert log.report() == {"n_updates": 0, "n_skipped": 0}


@pytest.mark.parametrize("norms", [[1.0, 2.0], [1.0, NAN, 3.0], [NAN, NAN, NAN, 1.0], [NAN, NAN, 1.0, NAN]])
def test_steps_of_compiled_rounds_count_as_single_ones_do(norms):
    one, many = StepLog(), StepLog()
    for k, norm in enumerate(norms):
        if not one.diverged and one.allows(norm):
            one.measure({"loss": float(k), "grad_norm": norm})
    made = many.extend(norms, loss=np.arange(len(norms)))
    assert made == many.n_updates == one.n_updates
    first, second = one.report(), many.report()
    assert first.keys() == second.keys()
    np.testing.assert_array_equal(list(first.values()), [second[name] for name in first])


def replay_of(kind):
    replay = PrioritizedReplay(100) if kind == "prioritized" else ReplayBuffer(100)
    rng = np.random.default_rng(0)
    for t in range(40):
        seen, after = (
            with_masks(rng.standard_normal((1, 3)).astype(np.float32), np.array([[True, t % 2 == 0]]))
            for _ in range(2)
        )
        replay.add(seen, np.array([t % 2]), np.ones(1), after, np.array([t % 7 == 0]), np.array([t % 9 == 0]))
    return replay


@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
def test_draws_are_split_from_their_masks_and_stack(kind):
    hp = {"batch_size": 8, "n_step": 2, "gamma": 0.9}
    replay, rng = replay_of(kind), np.random.default_rng(1)
    draws = [draw(replay, hp, 0.4, Normalizers(None, None), rng) for _ in range(3)]
    both = stacked(draws)
    assert both.observations.shape == both.following.shape == (3, 8, 3)
    assert both.masks is not None
    assert both.masks.shape == (3, 8, 2)
    assert both.weights.shape == (3, 8)
    np.testing.assert_array_equal(both.rewards[1], draws[1].rewards)
    assert set(np.round(both.discounts, 4).reshape(-1).tolist()) <= {0.0, 0.9, 0.81} | {
        float(np.float32(x).round(4)) for x in (0.9, 0.81)
    }


def test_plans_say_how_each_space_is_read():
    space = Dict(
        {"camera": Box(0, 255, (48, 48, 3), np.uint8), "k": Discrete(3, start=2), "x": Box(-1, 1, (2, 2))}
    )
    plan = plan_input(space)
    assert [(name, part.kind) for name, part in plan.parts] == [
        ("camera", "image"),
        ("k", "one_hot"),
        ("x", "flat"),
    ]
    assert plan.has_image
    assert not plan.is_image
    assert dict(plan.parts)["camera"].scale == pytest.approx(1 / 255)
    sizes, low = dict(plan.parts)["k"].choices()
    assert (sizes.tolist(), low.tolist()) == ([3], [2])
    shapes = {name: part.shape for name, part in probe(plan.info).items()}
    assert shapes == {"camera": (2, 48, 48, 3), "k": (2,), "x": (2, 2, 2)}
    assert probe(plan.info)["k"].tolist() == [2.0, 2.0]


def test_plans_of_images_choices_and_users_encoders():
    image = Box(0, 255, (84, 84, 4), np.uint8)
    assert hidden_widths(plan_input(image), None, (64,)) == ()
    assert plan_input(image, "flatten").kind == "flat"
    assert plan_input(image, "math:sqrt").encoder is math.sqrt
    assert plan_input(MultiDiscrete([2, 3])).kind == "one_hot"
    with pytest.raises(ConfigError, match="too small"):
        plan_input(Box(0, 255, (20, 20, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"package\.module:callable"):
        plan_input(image, "nonsense")
    with pytest.raises(ConfigError, match="names the parts"):
        plan_input(Dict({"a": Discrete(2)}), {"b": "flatten"})


@pytest.mark.parametrize(
    "sizes,activation", [((0,), "tanh"), (("64",), "tanh"), ((True,), "tanh"), ((8,), "gelu")]
)
def test_architectures_that_cannot_be_made_are_refused(sizes, activation):
    with pytest.raises(ConfigError):
        require_architecture(sizes, activation, known=("tanh", "relu"), owner="x")
    assert require_architecture(8, "relu", known=("tanh", "relu"), owner="x") == (8,)


def test_what_is_not_finite_is_never_acted_on():
    mirror = Mirror(lambda x: x * np.inf)
    with pytest.raises(NumericalDivergence):
        mirror.outputs(np.ones((2, 3)))
    policy = FunctionPolicy(lambda x: np.full((len(x), 2), np.nan), "categorical", 2)
    with pytest.raises(NumericalDivergence):
        policy.act(np.ones((2, 3)), np.random.default_rng(0))


def test_a_policy_of_a_function_obeys_masks_and_its_width():
    policy = FunctionPolicy(lambda x: np.zeros((len(x), 3)), "categorical", 3)
    masks = np.array([[False, True, False]] * 50)
    rows = with_masks(np.zeros((50, 2), np.float32), masks)
    assert (policy.act(rows, np.random.default_rng(0)) == 1).all()
    with pytest.raises(ConfigError, match="expected"):
        FunctionPolicy(lambda x: np.zeros((len(x), 3)), "categorical", 4).outputs(np.zeros((2, 2)))


def test_weights_are_written_whole_read_checked_and_averaged(tmp_path):
    path = str(tmp_path / "w")
    one = {"a": np.ones((2, 2), np.float32), "n": np.array(3)}
    write_tensors(path, one, kind="K")
    np.testing.assert_array_equal(read_tensors(path, kind="K")["a"], one["a"])
    with pytest.raises(IncompatibleCheckpoint, match="not of L"):
        read_tensors(path, kind="L")
    with pytest.raises(NonFiniteState):
        write_tensors(path, {"a": np.array([np.nan])}, kind="K")
    mean = mean_of([one, {"a": 3 * one["a"], "n": np.array(5)}], owner="K")
    np.testing.assert_array_equal(mean["a"], 2 * one["a"])
    assert mean["n"] == 3
    with pytest.raises(IncompatibleCheckpoint, match="shape"):
        mean_of([one, {"a": np.ones(3, np.float32), "n": np.array(5)}], owner="K")
