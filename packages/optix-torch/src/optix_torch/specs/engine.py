"""Options that only the PyTorch agents have: how gradients are computed, and by how many threads."""

from __future__ import annotations

from optix_core.plugin import Option

THREADS = Option("threads", "auto", help="PyTorch's threads while learning: auto or a number")
ENGINE = (
    THREADS,
    Option("engine", "auto", help="auto, closed_form or autograd: how gradients are computed"),
)
