"""Would every preset be accepted by the agent that it names, with the backends that are installed?"""

from __future__ import annotations

import warnings

import gymnasium
import pytest

from optix_core.errors import OptixError
from optix_core.factory import resolve_agent
from optix_core.hyperparams import merge
from optix_core.plugins.lookup import checked_options
from optix_core.plugins.registry import default_registry
from optix_core.presets import Preset, all_presets
from optix_core.presets.catalogue import choose_preset

NOT_YET: dict[str, str] = {}
"""Agents that presets may name although no installed plugin has them, and why."""


def components_of(preset: Preset):
    """The agents of that name, one for each framework."""
    found = [c for c in default_registry().agents() if c.spec.name == preset.algorithm]
    if not found and preset.algorithm in NOT_YET:
        pytest.skip(f"{preset.algorithm}: {NOT_YET[preset.algorithm]}")
    assert found, f"{preset.name} names {preset.algorithm}, which no installed plugin offers"
    return found


@pytest.mark.parametrize("preset", all_presets(), ids=lambda p: p.name)
def test_every_value_is_a_declared_hyperparameter_within_its_range_or_an_option(preset: Preset):
    for component in components_of(preset):
        given = checked_options(component, dict(preset.agent))
        hypers = {hyper.name for hyper in component.spec.hyperparams}
        tuned = {name: value for name, value in given.items() if name in hypers}
        merge(component.spec.hyperparams, tuned, owner=component.qualified)


@pytest.mark.parametrize("preset", all_presets(), ids=lambda p: p.name)
def test_the_agent_resolves_where_the_environment_can_be_made(preset: Preset):
    specs = [component.spec for component in components_of(preset)]
    for env in preset.environments:
        try:
            with warnings.catch_warnings():
                # Box2D's extension module warns while it is loaded, and crashes where that is made an error
                warnings.simplefilter("ignore")
                found = resolve_agent(preset.algorithm, env, **dict(preset.agent))
        except OptixError as error:
            if not preset.requires:
                raise
            pytest.skip(f"{env} needs {', '.join(preset.requires)}: {error}")
        assert found.spec in specs
        assert found.spec.framework == "torch"


@pytest.mark.parametrize("env", sorted({env for p in all_presets() for env in p.environments}))
def test_auto_finds_something_for_every_environment(env):
    assert choose_preset(env).fits(env)


def test_the_environments_are_known_to_gymnasium():
    from optix_core.envs import register

    register()
    for preset in all_presets():
        assert set(preset.environments) <= set(gymnasium.registry), preset.name


def test_what_is_said_to_be_missing_is_missing():
    assert not set(NOT_YET) & {component.spec.name for component in default_registry().agents()}


def test_the_tests_can_fail():
    preset = next(p for p in all_presets() if p.name == "cartpole/ppo")
    component = components_of(preset)[0]
    with pytest.raises(OptixError, match="learning_rat"):
        checked_options(component, {"learning_rat": 1.0})
    with pytest.raises(OptixError, match="clip_ratio"):
        merge(component.spec.hyperparams, {"clip_ratio": 1.5}, owner="x")
