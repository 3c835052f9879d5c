"""How critics are called: with observations and actions as one row, or with the two apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from optix_core.errors import ConfigError


class EncodedCritic(nn.Module):
    """A critic that encodes observations before it sees actions.

    Args:
        encoder: Observations to features ``[B, F]``; both critics may share one, which is then evaluated once.
        trunk: ``[B, F + A]`` to ``[B, 1]``.
    """

    def __init__(self, encoder: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk

    def forward(self, observations: Any, actions: Tensor) -> Tensor:
        """``[B, 1]``."""
        return self.trunk(torch.cat([self.encoder(observations), actions], dim=-1))


def joined(observations: Any, actions: Tensor) -> Tensor:
    """One row ``[B, obs + A]`` of both."""
    flat = observations if observations.ndim == 2 else observations.reshape(len(observations), -1)
    return torch.cat([flat, actions], dim=-1)


def called_with_both(critic: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    """``critic`` as a function of observations and actions."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = [p for p in inspect.signature(critic.forward).parameters.values() if p.kind in kinds]
    required = sum(p.default is inspect.Parameter.empty for p in accepted)
    if required == 2:
        return critic
    if required != 1:
        raise ConfigError(
            f"{type(critic).__name__}.forward takes {required} arguments; a critic takes one row of observation and "
            "action, or the two apart"
        )
    return lambda observations, actions: critic(joined(observations, actions))


def both_values(critic1: nn.Module, critic2: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    """Both as one function ``[2, B]``; an encoder that they share is evaluated once."""
    if isinstance(critic1, EncodedCritic) and isinstance(critic2, EncodedCritic):
        first, second = critic1, critic2
        if first.encoder is second.encoder:

            def encoded(observations: Any, actions: Tensor) -> Tensor:
                features = torch.cat([first.encoder(observations), actions], dim=-1)
                return torch.stack([first.trunk(features).reshape(-1), second.trunk(features).reshape(-1)])

            return encoded
    one, other = called_with_both(critic1), called_with_both(critic2)
    return lambda observations, actions: torch.stack(
        [one(observations, actions).reshape(-1), other(observations, actions).reshape(-1)]
    )
