"""Where on a cluster actors go, and whether there is room for them at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from optix_core.errors import ConfigError
from optix_distributed.on_ray.needs import cluster_total, options_of

RESERVE_S = 60.0
"""How long to wait for the room of all actors."""


class Placement:
    """Options of Ray for each actor.

    Args:
        needs: Resources of one actor.
        n_actors: How many.
        least: For how many there must be room.
        reserve: Take the room of all before the first one starts.

    Raises:
        ConfigError: The cluster has no such room, even if it is empty.
    """

    def __init__(self, needs: Mapping[str, float], n_actors: int, *, least: int, reserve: bool) -> None:
        self._needs, self._n, self._reserve = dict(needs), n_actors, reserve
        self._group: PlacementGroup | None = None
        if n_actors:
            self._check(n_actors if reserve else least)

    def of(self, actor_id: int) -> dict[str, Any]:
        """Options with which to make an actor."""
        found = options_of(self._needs)
        if self._group is not None:
            found["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=actor_id
            )
        return found

    def reserve(self) -> None:
        """Take the room, if that was asked for.

        Raises:
            ConfigError: Others have it, and did not give it back in time.
        """
        if not self._reserve or self._group is not None:
            return
        self._group = placement_group([dict(self._needs)] * self._n, strategy="SPREAD")
        until = time.monotonic() + RESERVE_S
        while not self._group.wait(timeout_seconds=1):
            if time.monotonic() > until:
                self.release()
                raise ConfigError(
                    f"the cluster has not had room for {self._n} actors with {self._needs} each at once for "
                    f"{RESERVE_S:.0f} s; use placement='spread' to begin with those that fit, or fewer actors"
                )

    def release(self) -> None:
        """Give the room back."""
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None

    def _check(self, least: int) -> None:
        total = cluster_total(self._needs, least)
        for name, amount in self._needs.items():
            if amount * least > total.get(name, 0.0):
                raise ConfigError(
                    f"{least} actors take {amount * least:g} {name}, and the cluster has {total.get(name, 0.0):g} in "
                    f"all; use fewer actors, lower min_actors, or less per actor: actor_resources={{'{name}': ...}}"
                )
