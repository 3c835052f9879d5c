"""Are hyperparameters validated, merged and turned into tuning bounds by their one declaration?"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.errors import HyperparamError, OptixError
from optix_core.hyperparams import (
    HyperparamTypeError,
    UnknownHyperparamError,
    bounds,
    defaults,
    exploration_params,
    log_params,
    merge,
    update,
    validate,
)
from optix_core.plugin import Hyper, SpecError
from optix_core.types import HyperparamSet

HYPERS = (
    Hyper("learning_rate", 3e-4, low=0.0, low_open=True, high=1.0, tune=(1e-4, 3e-3), log=True),
    Hyper("gamma", 0.99, low=0.0, high=1.0, high_open=True, tune=(0.95, 0.999), log="complement"),
    Hyper("entropy_coef", 0.01, low=0.0, tune=(1e-3, 5e-2), explores=1),
    Hyper("epsilon_decay", 0.99, low=0.0, high=1.0, explores=-1),
    Hyper("n_epochs", 10, "int", low=1, high=100, tune=(2, 20)),
    Hyper("normalize", True, "bool"),
    Hyper("schedule", "linear", "choice", choices=("linear", "constant")),
    Hyper("replay_capacity", 1000, "int", low=1, live=False, tune=(100, 10_000)),
)


def check(**params):
    return validate(params, HYPERS, owner="x:PPO")


def test_defaults_are_complete_and_in_order() -> None:
    found = defaults(HYPERS)
    assert list(found) == [h.name for h in HYPERS]
    assert found["learning_rate"] == 3e-4
    assert found["n_epochs"] == 10


@pytest.mark.parametrize(
    "given_value, expected",
    [
        ({"n_epochs": 3.0}, 3),
        ({"n_epochs": np.int64(3)}, 3),
        ({"n_epochs": np.float32(3)}, 3),
        ({"gamma": 0}, 0.0),
        ({"gamma": np.float32(0.5)}, 0.5),
        ({"normalize": np.bool_(False)}, False),
        ({"schedule": "constant"}, "constant"),
    ],
)
def test_values_are_brought_to_their_declared_type(given_value, expected) -> None:
    (name,) = given_value
    found = check(**given_value)[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "params, error, text",
    [
        (
            {"learning_rate": 0.0},
            HyperparamError,
            "[E-HYPERPARAM] x:PPO: learning_rate is 0.0, but it must be a float in (0, 1]",
        ),
        ({"gamma": 1}, HyperparamError, "[E-HYPERPARAM] x:PPO: gamma is 1, but it must be a float in [0, 1)"),
        (
            {"entropy_coef": -1},
            HyperparamError,
            "x:PPO: entropy_coef is -1, but it must be a float in [0, inf)",
        ),
        ({"n_epochs": 101}, HyperparamError, "n_epochs is 101, but it must be an int in [1, 100]"),
        ({"n_epochs": 2.5}, HyperparamError, "but it must be a whole number: an int in [1, 100]"),
        (
            {"n_epochs": True},
            HyperparamTypeError,
            "n_epochs is True, but it must be an int in [1, 100], not bool",
        ),
        (
            {"gamma": np.bool_(True)},
            HyperparamTypeError,
            "gamma is True, but it must be a float in [0, 1), not bool",
        ),
        ({"gamma": "0.9"}, HyperparamTypeError, "gamma is '0.9', but it must be a float in [0, 1), not str"),
        ({"gamma": None}, HyperparamTypeError, "not NoneType"),
        ({"gamma": np.zeros(1)}, HyperparamTypeError, "not ndarray"),
        ({"gamma": float("nan")}, HyperparamError, "gamma is nan, but it must be finite: a float in [0, 1)"),
        ({"entropy_coef": float("inf")}, HyperparamError, "must be finite"),
        ({"entropy_coef": 10**400}, HyperparamError, "must be finite"),
        ({"normalize": 1}, HyperparamTypeError, "normalize is 1, but it must be True or False"),
        ({"schedule": "cosine"}, HyperparamError, "but it must be one of 'linear', 'constant'"),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_what_is_allowed(params, error, text) -> None:
    with pytest.raises(error) as caught:
        check(**params)
    assert text in str(caught.value)
    assert isinstance(caught.value, OptixError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError) == (error is HyperparamTypeError)


def test_an_unknown_name_gets_the_nearest_one_and_the_full_list() -> None:
    with pytest.raises(UnknownHyperparamError) as caught:
        check(learnig_rate=1e-3)
    assert str(caught.value) == (
        "[E-UNKNOWN-OPTION] x:PPO has no hyperparameter 'learnig_rate'. Did you mean 'learning_rate'? It has: "
        "entropy_coef, epsilon_decay, gamma, learning_rate, n_epochs, normalize, replay_capacity, schedule."
    )
    assert isinstance(caught.value, TypeError)


def test_the_source_of_a_value_is_named() -> None:
    with pytest.raises(HyperparamError, match=r"gamma is 2 \(from run.toml:3\), but"):
        validate({"gamma": 2}, HYPERS, owner="x", source={"gamma": "run.toml:3"})
    with pytest.raises(HyperparamError, match=r"gamma is 2 \(from the tuner\), but"):
        validate({"gamma": 2}, HYPERS, owner="x", source="the tuner")


def test_merge_is_complete_and_later_layers_win() -> None:
    mine = HyperparamSet({"gamma": 0.9, "n_epochs": 4.0})
    merged = merge(HYPERS, mine, None, {"n_epochs": 5}, owner="x")
    assert merged == {**defaults(HYPERS), "gamma": 0.9, "n_epochs": 5}
    assert mine.params == {"gamma": 0.9, "n_epochs": 4.0}
    merged["gamma"] = 0.0
    assert defaults(HYPERS)["gamma"] == 0.99


@pytest.mark.parametrize("wrong", [[("gamma", 1)], "gamma=1", 3, SimpleNamespace(params=None)])
def test_what_is_no_mapping_is_refused(wrong) -> None:
    with pytest.raises(HyperparamTypeError, match="must be a HyperparamSet or a mapping"):
        merge(HYPERS, wrong, owner="x")


def test_names_must_be_strings() -> None:
    with pytest.raises(HyperparamTypeError, match="name must be a string, not 3"):
        merge(HYPERS, {3: 1.0}, owner="x")


def test_bounds_logs_and_exploration_come_from_the_declaration() -> None:
    assert bounds(HYPERS) == {
        "learning_rate": (1e-4, 3e-3),
        "gamma": (0.95, 0.999),
        "entropy_coef": (1e-3, 5e-2),
        "n_epochs": (2.0, 20.0),
    }
    assert set(bounds(HYPERS, live_only=False)) == {*bounds(HYPERS), "replay_capacity"}
    assert log_params(HYPERS) == ("learning_rate", "1-gamma")
    assert exploration_params(HYPERS) == {"entropy_coef": 1, "epsilon_decay": -1}


def test_an_update_refuses_to_change_what_is_fixed() -> None:
    current = defaults(HYPERS)
    after = update(current, {"gamma": 0.5, "replay_capacity": 1000}, HYPERS, owner="x")
    assert after == {**current, "gamma": 0.5}
    assert current["gamma"] == 0.99
    with pytest.raises(HyperparamError, match="replay_capacity is fixed once the agent is built; it is 1000"):
        update(current, {"replay_capacity": 5}, HYPERS, owner="x")


@given(st.floats(min_value=0.0, max_value=1.0, exclude_max=True))
def test_what_is_accepted_is_kept_exactly(value: float) -> None:
    assert check(gamma=value) == {"gamma": value}
    assert check(gamma=check(gamma=value)["gamma"]) == {"gamma": value}


@given(st.floats().filter(lambda x: not 0.0 <= x < 1.0))
def test_what_lies_outside_is_never_accepted(value: float) -> None:
    with pytest.raises(HyperparamError):
        check(gamma=value)


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"name": "2x", "default": 1.0}, "Hyper '2x': the name must be a Python identifier"),
        ({"name": "lambda", "default": 1.0}, "the name must be a Python identifier"),
        (
            {"name": "seed", "default": 1.0},
            "Hyper 'seed': make_agent has a parameter of that name; choose another",
        ),
        ({"kind": "number"}, "Hyper 'x': kind is 'number'; it must be 'float', 'int', 'bool' or 'choice'"),
        ({"default": 2.0, "high": 1.0}, "Hyper 'x': the default is 2.0, but it must be a float in (-inf, 1]"),
        ({"default": True}, "the default is True, but it must be a float in (-inf, inf), not bool"),
        ({"low": 1.0, "high": 0.0, "default": 0.5}, "Hyper 'x': low is 1.0, above high, 0.0"),
        ({"low": float("nan")}, "low is nan; it must be a finite number or None"),
        ({"low_open": True}, "low_open needs low"),
        ({"log": True}, "log needs tune"),
        ({"tune": (0.0, 1.0), "log": True}, "tune is (0.0, 1.0); a logarithmic scale needs it above 0"),
        ({"log": "complement"}, "log needs tune"),
        ({"log": "log1p"}, "log is 'log1p'; it must be True, False or 'complement'"),
        (
            {"tune": (0.5, 1.0), "log": "complement"},
            "tune is (0.5, 1.0); a logarithmic scale of 1 - x needs it below 1",
        ),
        ({"tune": (2.0, 1.0)}, "tune is (2.0, 1.0); it must be (lo, hi) with lo below hi"),
        ({"tune": (0.0, 3.0), "high": 2.0}, "tune is (0.0, 3.0), which leaves the valid interval (-inf, 2]"),
        ({"tune": (0.0, 2.0), "low": 0.0, "low_open": True}, "which leaves the valid interval (0, inf)"),
        ({"kind": "int", "default": 1, "tune": (0.5, 3)}, "which leaves the valid interval (-inf, inf)"),
        ({"explores": 2}, "explores is 2; it must be -1, 0 or +1"),
        ({"kind": "bool", "default": True, "tune": (0.0, 1.0)}, "a bool has no tune; that is for numbers"),
        ({"kind": "choice", "default": "a"}, "choices belong to kind 'choice', which needs at least one"),
        ({"choices": ("a",)}, "choices belong to kind 'choice'"),
        (
            {"kind": "choice", "default": "c", "choices": ("a", "b")},
            "the default is 'c', but it must be one of 'a', 'b'",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(fields, text) -> None:
    with pytest.raises(SpecError) as caught:
        Hyper(**{"name": "x", "default": 1.0, **fields})
    assert text in str(caught.value)


def test_choices_keep_true_and_one_apart() -> None:
    hyper = Hyper("mode", 1, "choice", choices=(1, "auto"))
    assert validate({"mode": 1}, (hyper,), owner="x") == {"mode": 1}
    with pytest.raises(HyperparamError):
        validate({"mode": True}, (hyper,), owner="x")
