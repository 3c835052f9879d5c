"""How the store tells people about trouble that does not stop it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

Report = Callable[[str], None]
"""Receives one readable sentence per event worth a person's attention."""


class CheckpointWarning(UserWarning):
    """A checkpoint or log was damaged, skipped or not written, and optix carried on."""


def warn(message: str) -> None:
    """The default :data:`Report`: a Python warning."""
    warnings.warn(message, CheckpointWarning, stacklevel=3)
