"""Kinds of observation spaces that the standard networks of every framework read."""

from __future__ import annotations

OBSERVATION_SPACES = frozenset({"box", "dict", "tuple", "discrete", "multi_discrete", "multi_binary"})
