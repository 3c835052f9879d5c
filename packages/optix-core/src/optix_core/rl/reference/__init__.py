"""What every loss is, in plain float64 numpy: the anchor that all backends are compared with.

Imported by tests only, never by an agent: nothing here is fast, and everything is written as the papers have it. Losses
are functions of network *outputs* (logits, means, values), not of parameters, and come with their exact gradients with
respect to these outputs, which are in turn tested against finite differences.

The three PPO agents share ``policies`` and ``ppo`` (recurrent ones apply them to the steps that are not padding), DQN
and Rainbow ``q_learning``, SAC and TD3 ``actor_critic``. Nothing is imported from :mod:`optix_core.acting` but
constants, so that an error there cannot hide here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.rl.reference.actor_critic import sac_actor_loss as sac_actor_loss
    from optix_core.rl.reference.actor_critic import smoothed_actions as smoothed_actions
    from optix_core.rl.reference.actor_critic import soft_targets as soft_targets
    from optix_core.rl.reference.actor_critic import squashed_gaussian as squashed_gaussian
    from optix_core.rl.reference.actor_critic import td3_actor_loss as td3_actor_loss
    from optix_core.rl.reference.actor_critic import td3_targets as td3_targets
    from optix_core.rl.reference.actor_critic import temperature_loss as temperature_loss
    from optix_core.rl.reference.actor_critic import twin_critic_loss as twin_critic_loss
    from optix_core.rl.reference.loss import Loss as Loss
    from optix_core.rl.reference.loss import numerical_gradient as numerical_gradient
    from optix_core.rl.reference.policies import bernoulli as bernoulli
    from optix_core.rl.reference.policies import categorical as categorical
    from optix_core.rl.reference.policies import gaussian as gaussian
    from optix_core.rl.reference.policies import multi_categorical as multi_categorical
    from optix_core.rl.reference.ppo import ppo_policy_loss as ppo_policy_loss
    from optix_core.rl.reference.ppo import ppo_value_loss as ppo_value_loss
    from optix_core.rl.reference.q_learning import c51_loss as c51_loss
    from optix_core.rl.reference.q_learning import c51_targets as c51_targets
    from optix_core.rl.reference.q_learning import dueling as dueling
    from optix_core.rl.reference.q_learning import dueling_gradients as dueling_gradients
    from optix_core.rl.reference.q_learning import q_targets as q_targets
    from optix_core.rl.reference.q_learning import td_loss as td_loss

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "sac_actor_loss": ".actor_critic",
        "smoothed_actions": ".actor_critic",
        "soft_targets": ".actor_critic",
        "squashed_gaussian": ".actor_critic",
        "td3_actor_loss": ".actor_critic",
        "td3_targets": ".actor_critic",
        "temperature_loss": ".actor_critic",
        "twin_critic_loss": ".actor_critic",
        "Loss": ".loss",
        "numerical_gradient": ".loss",
        "bernoulli": ".policies",
        "categorical": ".policies",
        "gaussian": ".policies",
        "multi_categorical": ".policies",
        "ppo_policy_loss": ".ppo",
        "ppo_value_loss": ".ppo",
        "c51_loss": ".q_learning",
        "c51_targets": ".q_learning",
        "dueling": ".q_learning",
        "dueling_gradients": ".q_learning",
        "q_targets": ".q_learning",
        "td_loss": ".q_learning",
    },
)
