"""What is made or changed around off-policy agents for continuous actions: scaling and learning rates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from optix_core.errors import SpaceError
from optix_core.rl.spaces import BoxScaler
from optix_torch.training.trainable import Trainable


def change_learning_rate(trainables: Iterable[Trainable], value: float) -> None:
    """Give the first group of the first optimizer the rate ``value``; all others keep their ratio to it.

    The actor's optimizer comes first. A user who gave the critics, or one group, another rate meant it.
    """
    groups = [group for trainable in trainables for group in trainable.optimizer.param_groups]
    before = float(groups[0]["lr"])
    if before == value:
        return
    for group in groups:
        old = float(group["lr"])
        new = value if old == before else old * (value / before)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(new)
        else:
            group["lr"] = new


def scaler_of_bounded(space: Any, owner: str) -> BoxScaler:
    """What maps [-1, 1] to ``space``.

    Raises:
        SpaceError: It is no floating Box, or not bounded on both sides everywhere.
    """
    scaler = BoxScaler(space)
    if not scaler.bounded.all():
        raise SpaceError(
            f"{owner}: components {np.argwhere(~scaler.bounded).tolist()} of the action space have no finite bounds, "
            "so there is nothing that actions in [-1, 1] could be scaled to. Give the Box bounds "
            "(gymnasium.wrappers.TransformAction), or use GaussianPPO, whose actions are not squashed."
        )
    return scaler
