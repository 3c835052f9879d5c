"""Target networks: slow copies that make the targets of temporal-difference learning stand still.

Copied now and then (Mnih et al. 2015, doi:10.1038/nature14236) or drawn along a little with each step (Polyak
averaging; Lillicrap et al. 2015, arXiv:1509.02971, section 3).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from optix_core.agents.weights import require_same
from optix_core.state import State
from optix_torch.training import storage
from optix_torch.training.flat import FlatParameters


class TargetNetwork:
    """A copy of a module whose parameters follow those of the original.

    Parameters lie in one vector, so that following costs one operation. Buffers (of batch normalisation, for example)
    are copied as they are, in either way of following.

    Args:
        online: The original. Its trainable parameters are all in ``flat``.
        flat: The original's vector; ``module`` has one of the same order.

    Attributes:
        module: The copy, in eval mode; its parameters need no gradient.
        flat: Its parameters as a vector.
    """

    def __init__(self, online: nn.Module, flat: FlatParameters) -> None:
        self._online, self._source = online, flat
        self.module = copy.deepcopy(online).eval()
        by_name = dict(self.module.named_parameters())
        names = {id(p): name for name, p in online.named_parameters()}
        self.flat = FlatParameters([by_name[names[id(p)]] for p in flat.parameters if id(p) in names])
        if self.flat.vector.numel() != flat.vector.numel():
            raise ValueError("the vector holds parameters that are not the module's")
        self.module.requires_grad_(False)
        self._pairs = list(zip(self.module.buffers(), online.buffers(), strict=True))

    @torch.no_grad()
    def copy(self) -> None:
        """Become equal to the original."""
        self.flat.vector.copy_(self._source.vector)
        self._copy_buffers()

    @torch.no_grad()
    def polyak(self, tau: float) -> None:
        """Go the share ``tau`` (0 to 1) of the way towards the original."""
        self.flat.vector.lerp_(self._source.vector, tau)
        self._copy_buffers()

    def state_dict(self) -> State:
        """Parameters and buffers."""
        return dict(storage.module_arrays(self.module))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(storage.module_arrays(self.module), state, owner="the target network")
        storage.load_module(self.module, state)

    def _copy_buffers(self) -> None:
        for mine, theirs in self._pairs:
            mine.copy_(theirs)
