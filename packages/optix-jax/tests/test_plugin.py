"""What core sees of this distribution without JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution

import pytest

from optix_core import make_agent
from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
from optix_jax import FlaxGaussianPPOAgent, FlaxPPOAgent
from optix_jax.specs import ppo

FRAMEWORKS = ("jax", "jaxlib", "flax", "optax", "torch", "tensorflow", "numpy", "gymnasium", "safetensors")


def test_the_entry_point_names_the_plugin_module():
    points = distribution("optix-jax").entry_points.select(group="optix_core.plugins")
    assert [(point.name, point.value) for point in points] == [("optix-jax", "optix_jax.plugin")]


def test_importing_the_package_and_its_plugin_module_loads_no_framework():
    program = (
        "import sys, optix_jax, optix_jax.plugin; optix_jax.plugin.optix_agents(); "
        f"print([m for m in {FRAMEWORKS!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_agents_need_no_other_framework():
    program = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['tensorflow'] = None\n"
        "from optix_jax import FlaxPPOAgent\n"
        "print(FlaxPPOAgent(3, 2).act([0.0, 0.0, 0.0]) in (0, 1))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_names_are_found_lazily_and_listed():
    import optix_jax

    for name in dir(optix_jax):
        assert getattr(optix_jax, name) is not None
    with pytest.raises(AttributeError, match="FlaxNoSuchAgent"):
        _ = optix_jax.FlaxNoSuchAgent


def test_ppo_fits_both_kinds_of_spaces():
    assert type(make_agent("PPO", TinyDiscrete(), seed=0, framework="jax")) is FlaxPPOAgent
    assert type(make_agent("PPO", TinyBox(), seed=0, framework="jax")) is FlaxGaussianPPOAgent


def test_the_environment_variable_prefers_jax():
    program = (
        "from optix_core import resolve_agent; print(resolve_agent('PPO', 'CartPole-v1').spec.framework)"
    )
    env = {**os.environ, "OPTIX_FRAMEWORK": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.strip() == "jax"


def test_specs_and_classes_agree_on_what_is_tuned():
    for spec in ppo.SPECS:
        tuned = {hyper.name: hyper.tune for hyper in spec.hyperparams if hyper.tune}
        assert tuned == FlaxPPOAgent.default_param_bounds == FlaxGaussianPPOAgent.default_param_bounds
