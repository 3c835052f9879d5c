"""A component under examination that is not an agent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSubject:
    """A component and how it is made.

    Attributes:
        name: What reports call it.
        factory: Makes it; called with those of the loop's keyword arguments that its signature has.
        spec: Its spec, if it comes from a plugin.
        record: The plugin's record, if it comes from one.
        options: Passed to every call.
        graphs: For a topology mutator: a network for a seed; None: :meth:`~optix_core.testing.TinyGraph.random`.
    """

    name: str
    factory: Callable[..., Any]
    spec: Any = None
    record: Any = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    graphs: Callable[[int], Any] | None = None

    def make(self, *args: Any, **offered: Any) -> Any:
        """A fresh component; of ``offered`` the arguments that the factory knows."""
        known = inspect.signature(self.factory).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
        chosen = {k: v for k, v in offered.items() if takes_all or k in known}
        return self.factory(*args, **{**chosen, **self.options})

    def accepts(self, name: str) -> bool:
        """Whether the factory has a parameter of that name."""
        return name in inspect.signature(self.factory).parameters
