"""What a population came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optix_core.population.members import Member
from optix_core.stats.comparison import MeanInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationResult:
    """A population at its end.

    Attributes:
        winner: The member whose policy was best on fresh episodes, not the one with the luckiest last evaluation.
        confirmed: Its mean return on fresh episodes, with a 95 % interval.
        members: All, by number.
        history: One entry per generation: ``generation``, ``scores``, ``params`` and ``parents`` by member.
        steps: Environment steps that all members together learned from.
        interrupted: A signal ended it early.
    """

    winner: Member
    confirmed: MeanInterval
    members: tuple[Member, ...]
    history: tuple[dict[str, Any], ...]
    steps: int
    interrupted: bool

    @property
    def optimism(self) -> float | None:
        """By how much the winner's last evaluation promised more than fresh episodes gave; None without one."""
        return None if self.winner.score is None else self.winner.score - self.confirmed.mean
