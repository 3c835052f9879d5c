"""Rainbow, as PyTorch offers it."""

from __future__ import annotations

from optix_core.agents.hypers.rainbow import HYPERS, OBSERVATION_SPACES, OPTIONS
from optix_core.plugin import AgentSpec, Option
from optix_torch.specs.engine import ENGINE

SPECS = [
    AgentSpec(
        name="Rainbow",
        algorithm="Rainbow",
        answers_to=("RainbowDQN",),
        framework="torch",
        summary="noisy, distributional, double, dueling, n-step deep Q-learning with prioritised replay",
        factory="optix_torch.rainbow:build",
        action_spaces=frozenset({"discrete"}),
        observation_spaces=OBSERVATION_SPACES,
        policy="deterministic",
        on_policy=False,
        capabilities=frozenset({"checkpoint", "export:onnx", "distributional", "her", "masks"}),
        hyperparams=HYPERS,
        options=(
            Option("hidden_sizes", (128,), help="widths of the noisy hidden layers"),
            Option(
                "sigma_0", 0.5, help="initial noise of the weights, times one over the root of the inputs"
            ),
            *(option for option in OPTIONS if option.name not in {"hidden_sizes", "activation"}),
            *ENGINE,
        ),
        default_rank=50,
    ),
]
