"""PPO with memory, as PyTorch offers it."""

from __future__ import annotations

from optix_core.agents.hypers.recurrent_ppo import HYPERS
from optix_core.plugin import AgentSpec, Option

SPECS = [
    AgentSpec(
        name="RecurrentPPO",
        algorithm="RecurrentPPO",
        framework="torch",
        summary="proximal policy optimisation with an LSTM or GRU, for what one observation does not tell",
        factory="optix_torch.recurrent_ppo:build",
        action_spaces=frozenset({"discrete", "multi_discrete", "multi_binary", "box"}),
        observation_spaces=frozenset({"box", "discrete", "multi_discrete", "multi_binary", "dict", "tuple"}),
        capabilities=frozenset({"checkpoint", "export:onnx", "masks", "recurrent"}),
        hyperparams=HYPERS,
        options=(
            Option("cell", "lstm", help="lstm or gru"),
            Option("memory_size", 64, help="width of the recurrent layers"),
            Option(
                "shared_memory", False, help="one recurrent layer for actor and critic instead of one each"
            ),
            Option("hidden_sizes", (64,), help="widths of the layers between memory and outputs"),
            Option("activation", "tanh", help="tanh, relu, elu or sigmoid"),
            Option(
                "encoder",
                None,
                help="a module, a function or its name, that turns observations into features",
            ),
            Option("normalize_observations", True, help="standardise observations with running statistics"),
            Option("normalize_rewards", True, help="divide rewards by the running deviation of returns"),
            Option("threads", "auto", help="PyTorch's threads in learning; auto: one for small networks"),
        ),
        default_rank=40,
    ),
]
