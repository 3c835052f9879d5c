"""Which tuner a run gets when its user named none."""

from __future__ import annotations

import pytest

from optix_core.errors import ConfigError
from optix_core.testing.linear_agent import LinearAgent
from optix_core.tuner_choice import chosen_tuner
from optix_core.tuners import FixedOptimizer, SPSAOptimizer


class Tunable(LinearAgent):
    default_param_bounds = {"learning_rate": (1e-4, 1e-2)}  # noqa: RUF012
    default_log_params = ("learning_rate",)


class Untunable(LinearAgent):
    default_param_bounds = {}  # noqa: RUF012
    default_log_params = ()


@pytest.fixture
def agent():
    return Tunable.__new__(Tunable)


@pytest.mark.parametrize("choice", [None, "spsa"])
def test_spsa_in_branches_is_the_default(agent, choice):
    tuner = chosen_tuner(choice, agent, 0, can_branch=True)
    assert isinstance(tuner, SPSAOptimizer)
    assert (tuner.mode, tuner._gains.c) == ("branched", 0.05)
    assert tuner.param_bounds == Tunable.default_param_bounds


def test_where_nothing_can_branch_it_probes_in_training(agent):
    tuner = chosen_tuner(None, agent, 0, can_branch=False)
    assert (tuner.mode, tuner._gains.c) == ("two_probe", 0.05)


def test_nothing_to_tune():
    agent = Untunable.__new__(Untunable)
    assert isinstance(chosen_tuner(None, agent, 0, can_branch=True), FixedOptimizer)
    with pytest.raises(ConfigError, match="nothing to tune"):
        chosen_tuner("spsa", agent, 0, can_branch=True)
