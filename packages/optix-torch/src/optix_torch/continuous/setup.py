"""Learning rates of several optimizers that keep their ratio."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

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
