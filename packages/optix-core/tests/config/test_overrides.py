from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.config import apply_overrides
from optix_core.config.overrides import full_name, parse_value
from optix_core.errors import ConfigError


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-3", 1e-3),
        ("3e4", 3e4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2", -2),
        ("+7", 7),
        ("007", 7),
        ("true", True),
        ("False", False),
        ("none", None),
        ("null", None),
        ("CartPole-v1", "CartPole-v1"),
        ('"1"', "1"),
        ("[64, 64]", [64, 64]),
        ("{a = 1}", {"a": 1}),
        ("", ""),
        ("2026-01-01", "2026-01-01"),
        ("1\nevil = 2", "1\nevil = 2"),
        ("module:Env", "module:Env"),
        ("1.2.3", "1.2.3"),
        ("no", "no"),
    ],
)
def test_values_read_as_a_person_means_them(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_its_own_text(number: float) -> None:
    assert parse_value(repr(number)) == number


@given(st.text(max_size=40))
def test_any_text_parses_without_an_error(text: str) -> None:
    parse_value(text)


def test_overrides_make_a_new_nested_dict_and_later_ones_win() -> None:
    data = {"agent": {"gamma": 0.9}, "env": "A"}
    result = apply_overrides(data, ["agent.gamma=0.5", "tuner.name=fixed", "env=B", "env=C"])
    assert result == {"agent": {"gamma": 0.5}, "tuner": {"name": "fixed"}, "env": "C"}
    assert data == {"agent": {"gamma": 0.9}, "env": "A"}


@pytest.mark.parametrize("bad", ["novalue", "=3", "a..b=1", ".a=1", " =1"])
def test_a_malformed_override_shows_the_right_form(bad: str) -> None:
    with pytest.raises(ConfigError, match="of the form name=value, for example learning_rate=1e-3"):
        apply_overrides({}, [bad])


def test_an_override_cannot_lead_through_a_value() -> None:
    with pytest.raises(ConfigError, match=r"env.name cannot be set: env is 'A', a value and not a table"):
        apply_overrides({"env": "A"}, ["env.name=B"])


SECTIONS = {"agent": ["learning_rate", "delta"], "optimizer": ["delta", "horizon"]}


def test_short_names_resolve_where_only_one_place_knows_them() -> None:
    assert full_name("seed", ["seed"], SECTIONS) == "seed"
    assert full_name("learning_rate", ["seed"], SECTIONS) == "agent.learning_rate"
    assert full_name("horizon", ["seed"], SECTIONS) == "optimizer.horizon"
    assert full_name("tuner.every", ["seed"], SECTIONS) == "tuner.every"


def test_an_ambiguous_short_name_lists_its_meanings() -> None:
    with pytest.raises(ConfigError, match=r"'delta' could mean agent.delta or optimizer.delta"):
        full_name("delta", [], SECTIONS)


def test_an_unknown_short_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'learnig_rate'. Did you mean 'learning_rate'\?"):
        full_name("learnig_rate", ["seed"], SECTIONS)
