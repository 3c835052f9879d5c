"""What is written is what is read."""

from __future__ import annotations

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.config.toml_writer import toml_text
from optix_core.errors import ConfigError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        TEXTS, st.one_of(VALUES, st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3)), max_size=5
    )
)
def test_everything_comes_back(data):
    kept = {k: v for k, v in data.items() if v != {}}
    assert tomllib.loads(toml_text(data)) == kept


def test_none_is_left_out_and_tables_come_last():
    text = toml_text({"a": {"x": None, "y": 1}, "b": None, "c": 2.5, "d": {}, "e": (1, 2)})
    assert text == "c = 2.5\ne = [1, 2]\n\n[a]\ny = 1\n"
    assert math.isnan(tomllib.loads(toml_text({"x": math.nan}))["x"])


def test_what_toml_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="TOML"):
        toml_text({"x": object()})
