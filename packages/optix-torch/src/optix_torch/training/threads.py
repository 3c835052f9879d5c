"""How many threads PyTorch uses while an agent computes."""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import torch

from optix_core.errors import ConfigError

SMALL_NETWORKS = 1_000_000
"""Networks with fewer parameters than this are updated by one thread.

Forward and backward pass of two hidden layers on 256 samples, PyTorch 2.13, two cores that others used too: a second
thread cost 6 times the CPU time with 64 units a layer, 10 with 256, 7 with 1,024 and 2 with 2,048 (4 million
parameters), and saved no time on the clock with 256 units or more. Agents with two or three networks of 256 x 256 or
400 x 300 lie below the limit, those with a convolutional encoder (1.7 million) above.
"""


class Threads:
    """A context in which PyTorch uses as many threads as fit the networks; afterwards as many as before.

    Handing the work of a small matrix product to a second thread takes longer than the product. Entering and leaving
    costs a third of a microsecond. The number is a setting of the whole process, so it is never left changed.

    Args:
        setting: ``"auto"``: one thread for networks with fewer than :data:`SMALL_NETWORKS` parameters, otherwise
            whatever PyTorch is set to. A number: so many.
        n_parameters: Of all networks together.
        device: ``"auto"`` changes nothing where the networks are not on a CPU.

    Raises:
        ConfigError: ``setting`` is neither.
    """

    def __init__(
        self, setting: Literal["auto"] | int, n_parameters: int, device: torch.device | str = "cpu"
    ) -> None:
        valid = (isinstance(setting, int) and not isinstance(setting, bool) and setting >= 1) or (
            isinstance(setting, str) and setting == "auto"
        )
        if not valid:
            raise ConfigError(f"threads is {setting!r}; it must be 'auto' or a whole number of at least 1")
        if setting == "auto":
            small = n_parameters < SMALL_NETWORKS and torch.device(device).type == "cpu"
            self.n: int | None = 1 if small else None
        else:
            self.n = int(setting)
        self._before: list[int] = []

    def __enter__(self) -> None:
        before = torch.get_num_threads()
        self._before.append(before)
        if self.n is not None and self.n != before:
            torch.set_num_threads(self.n)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = self._before.pop()
        if self.n is not None and self.n != before:
            torch.set_num_threads(before)
