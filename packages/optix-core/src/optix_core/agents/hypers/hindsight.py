"""What agents with replay declare about learning from goals that were reached by chance."""

from __future__ import annotations

from optix_core.plugin import Option

OPTIONS: tuple[Option, ...] = (
    Option("hindsight", 0.0, help="relabelled rows per row that is not, in goal environments; 0: none"),
    Option("hindsight_strategy", "future", help="future, final or episode: where those goals come from"),
)
"""Andrychowicz et al. 2017, arXiv:1707.01495."""
