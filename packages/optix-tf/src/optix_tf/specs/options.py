"""An option that agents of this backend have beside those of every framework."""

from __future__ import annotations

from optix_core.plugin import Option

COMPILER = (
    Option(
        "compiler",
        "auto",
        help="xla, graph or auto: what compiles updates; auto takes XLA for networks it is known to compile",
    ),
)
