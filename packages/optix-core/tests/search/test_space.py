"""Which values a search may propose, and how they are spread."""

from __future__ import annotations

import math
from typing import ClassVar

import dial
import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.search.space import Dimension, SearchSpace, declared_space, from_bounds
from optix_core.testing.linear_agent import HYPERPARAMS, LinearAgent
from optix_core.testing.tiny_envs import TinyDiscrete

ALL = {
    "a": ("float", -2.0, 3.0),
    "b": ("log_float", 1e-5, 1e-1),
    "c": ("log_complement", 0.9, 0.999),
    "d": ("int", -3, 4),
    "e": ("log_int", 32, 1024),
    "f": ("categorical", "x", 3, None, True),
}


def draws(space, n, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    for _ in range(n):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, 0.0)
    return study, found


def test_every_form_gives_values_of_its_range_and_type():
    space = SearchSpace.parse(ALL)
    assert space.forms == ALL
    study, found = draws(space, 200)
    for values in found:
        assert list(values) == list(ALL)
        assert -2.0 <= values["a"] <= 3.0
        assert 1e-5 <= values["b"] <= 1e-1
        assert 0.9 <= values["c"] <= 0.999
        assert isinstance(values["d"], int)
        assert -3 <= values["d"] <= 4
        assert isinstance(values["e"], int)
        assert 32 <= values["e"] <= 1024
        assert values["f"] in ("x", 3, None, True)
    assert {v["f"] for v in found} == {"x", 3, None, True}
    # what the study keeps stands for the same values
    assert [space.decoded(t.params) for t in study.trials] == found


@pytest.mark.parametrize("name, position", [
    ("a", lambda x: (x + 2) / 5),
    ("b", lambda x: math.log(x / 1e-5) / math.log(1e4)),
    ("c", lambda x: math.log((1 - 0.9) / (1 - x)) / math.log(100)),
    ("e", lambda x: math.log(x / 32) / math.log(32)),
])  # fmt: skip
def test_values_are_spread_evenly_on_their_scale(name, position):
    _, found = draws(SearchSpace.parse({name: ALL[name]}), 1500)
    places = np.sort([position(values[name]) for values in found])
    even = (np.arange(1500) + 0.5) / 1500
    assert np.abs(places - even).max() < 0.05


@pytest.mark.parametrize("entry, says", [
    (("float", 1.0), "two finite numbers"),
    (("float", "a", 2), "two finite numbers"),
    (("float", 1.0, math.inf), "two finite numbers"),
    (("float", True, 2.0), "two finite numbers"),
    (("float", 2.0, 1.0), "lo < hi"),
    (("float", 1.0, 1.0), "lo < hi"),
    (("log_float", 0.0, 1.0), "lo > 0"),
    (("log_int", 0, 5), "lo > 0"),
    (("int", 0.5, 2), "whole numbers"),
    (("log_complement", 0.5, 1.0), "hi < 1"),
    (("categorical",), "at least one value"),
    (("categorical", 1, 1), "twice"),
    (("categorical", [1]), "plain"),
    (("logfloat", 1.0, 2.0), "log_float"),
    ((1.0, 2.0), "one of"),
    ((), "one of"),
    ("float", "one of"),
    (None, "one of"),
])  # fmt: skip
def test_a_wrong_entry_is_named_with_the_forms(entry, says):
    with pytest.raises(ConfigError, match=says) as caught:
        SearchSpace.parse({"rate": entry})
    assert "rate" in str(caught.value)
    assert "lo, hi)" in str(caught.value)


def test_a_space_has_names_and_at_least_one():
    with pytest.raises(ConfigError, match="empty"):
        SearchSpace.parse({})
    with pytest.raises(ConfigError, match="no name"):
        SearchSpace.parse({3: ("float", 0, 1)})


def test_one_and_true_are_different_choices():
    assert SearchSpace.parse({"x": ("categorical", 1, True)}).forms == {"x": ("categorical", 1, True)}


def test_what_an_agent_class_declares_is_taken_with_its_scales():
    agent = dial.DialAgent({})
    assert declared_space(agent).forms == {
        "setting": ("float", -1.0, 1.0),
        "gamma": ("log_complement", 0.9, 0.999),
        "epochs": ("int", 1, 10),
    }
    agent.teardown()


def test_the_declarations_of_an_agent_with_hypers_are_taken():
    env = TinyDiscrete()
    forms = declared_space(LinearAgent(env.observation_space, env.action_space)).forms
    declared = {h.name: h for h in HYPERPARAMS if h.tune is not None}
    assert set(forms) == set(declared)
    assert forms["learning_rate"] == ("log_float", *declared["learning_rate"].tune)


def test_an_agent_without_declarations_is_told_what_to_pass():
    class Silent(dial.DialAgent):
        default_param_bounds: ClassVar = {}

    agent = Silent({})
    with pytest.raises(ConfigError, match="param_space"):
        declared_space(agent)
    agent.teardown()


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-6, 1e6),
    stored=st.floats(0, 1),
)
def test_decoded_values_stay_in_their_range(low, width, stored):
    high = low + width
    if low < high:
        space = from_bounds({"x": (low, high)}, set(), set())
        assert space.decoded({"x": low + stored * (high - low)})["x"] <= high
    upper = 1 - 1e-9 - stored * 0.5
    axis = Dimension(name="x", kind="log_complement", low=upper - 0.3, high=upper)
    assert axis.low <= axis.decoded(1 - axis.high) <= axis.high
    assert axis.low <= axis.decoded(1 - axis.low) <= axis.high


def test_a_subset_names_what_there_is():
    space = SearchSpace.parse(ALL)
    assert list(space.subset(["c", "a"]).forms) == ["c", "a"]
    with pytest.raises(ConfigError, match="no declared range for 'z'"):
        space.subset(["z"])
