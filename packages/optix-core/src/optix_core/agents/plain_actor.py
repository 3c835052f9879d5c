"""What a plain perceptron is as an actor, provided that it has the right number of outputs."""

from __future__ import annotations

from collections.abc import Sequence

from optix_core.acting import MLPSpec, PolicySpec
from optix_core.acting.distributions import Head
from optix_core.errors import ConfigError


def policy_spec(
    network: MLPSpec, head: Head, n_actions: int | None, nvec: Sequence[int] = (), *, log_std: bool = False
) -> PolicySpec:
    """``network`` as a policy.

    Args:
        network: Its shape.
        head: What the outputs mean.
        n_actions: Number of choices, bits or action dimensions; None: as many as there are outputs for.
        nvec: Choices of each component; ``multi_categorical`` only.
        log_std: Whether log standard deviations are parameters beside the network, whose outputs are means then.

    Raises:
        ConfigError: The outputs are for another number of actions, or means without deviations.
    """
    width = network.sizes[-1]
    if head == "gaussian" and not log_std:
        if width % 2:
            raise ConfigError(
                f"a Gaussian actor needs two outputs per action dimension, mean and log standard deviation; it has "
                f"{width}"
            )
        width //= 2
    if n_actions not in {None, width}:
        raise ConfigError(
            f"the actor has outputs for {width} actions or action dimensions, expected {n_actions}"
        )
    return PolicySpec(network, head, width, tuple(nvec))
