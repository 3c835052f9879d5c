"""What optix-torch offers, as data: importing this loads no PyTorch."""

from __future__ import annotations

from optix_core.plugin import AgentSpec, Option, hookimpl
from optix_torch.hyperparams import GAUSSIAN_PPO_NORMALIZES, PPO

OPTIX_API = "1.0"


def _options(*, normalize_observations: bool, normalize_rewards: bool) -> tuple[Option, ...]:
    return (
        Option("hidden_sizes", (64, 64), help="widths of the hidden layers of actor and critic"),
        Option("activation", "tanh", help="tanh, relu, elu or sigmoid"),
        Option(
            "normalize_observations",
            normalize_observations,
            help="standardise observations with running statistics",
        ),
        Option(
            "normalize_rewards",
            normalize_rewards,
            help="divide rewards by the running deviation of returns",
        ),
        Option("engine", "auto", help="auto, closed_form or autograd: how gradients are computed"),
    )


@hookimpl
def optix_agents() -> list[AgentSpec]:
    """The agents of this distribution."""
    return [
        AgentSpec(
            name="PPO",
            algorithm="PPO",
            framework="torch",
            summary="proximal policy optimisation for discrete actions",
            factory="optix_torch.ppo:build",
            action_spaces=frozenset({"discrete"}),
            capabilities=frozenset({"checkpoint"}),
            hyperparams=PPO,
            options=_options(normalize_observations=False, normalize_rewards=False),
            default_rank=100,
        ),
        AgentSpec(
            name="GaussianPPO",
            algorithm="PPO",
            framework="torch",
            summary="proximal policy optimisation for continuous actions",
            factory="optix_torch.gaussian_ppo:build",
            action_spaces=frozenset({"box"}),
            capabilities=frozenset({"checkpoint"}),
            hyperparams=PPO,
            options=_options(**GAUSSIAN_PPO_NORMALIZES),
            default_rank=50,
        ),
    ]
