"""What core sees of this distribution without PyTorch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optix_core import make_agent
from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
from optix_torch import TorchGaussianPPOAgent, TorchPPOAgent
from optix_torch.specs import ppo


def test_importing_the_package_and_its_plugin_module_loads_no_framework():
    program = (
        "import sys, optix_torch, optix_torch.plugin; optix_torch.plugin.optix_agents(); "
        "print([m for m in ('torch', 'numpy', 'gymnasium', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_found_lazily_and_listed():
    import optix_torch

    assert set(dir(optix_torch)) >= {"TorchPPOAgent", "TorchGaussianPPOAgent", "TorchAgent", "TorchEvaluator"}
    for name in dir(optix_torch):
        assert getattr(optix_torch, name) is not None
    with pytest.raises(AttributeError, match="TorchNoSuchAgent"):
        _ = optix_torch.TorchNoSuchAgent


def test_ppo_fits_both_kinds_of_spaces():
    assert type(make_agent("PPO", TinyDiscrete(), seed=0)) is TorchPPOAgent
    assert type(make_agent("PPO", TinyBox(), seed=0)) is TorchGaussianPPOAgent
    assert type(make_agent(TinyDiscrete(), seed=0)) is TorchPPOAgent


def test_specs_and_classes_agree_on_what_is_tuned():
    for spec in ppo.SPECS:
        tuned = {hyper.name: hyper.tune for hyper in spec.hyperparams if hyper.tune}
        assert tuned == TorchPPOAgent.default_param_bounds == TorchGaussianPPOAgent.default_param_bounds
    assert tuned == {
        "learning_rate": (1e-4, 3e-3),
        "clip_ratio": (0.1, 0.3),
        "entropy_coef": (0.001, 0.05),
        "gamma": (0.95, 0.999),
    }
    assert list(TorchPPOAgent.default_log_params) == ["learning_rate", "1-gamma"]
    assert TorchPPOAgent.default_exploration_params == {"entropy_coef": 1}
