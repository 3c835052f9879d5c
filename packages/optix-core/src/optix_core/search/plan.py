"""What a search was asked to do, and where its trainings keep their files."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from optix_core.errors import ConfigError
from optix_core.search.scoring import Aggregate, check_aggregate
from optix_core.seeding import Domain, derive_seed

RUNGS = 20
"""A training is compared with others after each of so many equal parts of its budget."""
Direction = Literal["maximize", "minimize"]
SEARCH_SEEDS, FRESH_SEEDS = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The numbers of a search; see :class:`~optix_core.search.orchestrator.TrialOrchestrator` for what they mean.

    Raises:
        ConfigError: One of them cannot be.
    """

    study_name: str
    seed: int
    n_trials: int
    trial_steps: int
    direction: Direction
    n_startup_trials: int
    pruner_warmup_steps: int
    pruner_interval: int
    n_seeds: int
    aggregate: Aggregate
    top_k: int
    confirm_seeds: int
    max_errors: int
    timeout: float | None
    stale_after: float

    def __post_init__(self) -> None:
        for name, low in _WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least {low}")
        for name in ("timeout", "stale_after"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value!r}; it must be a positive number of seconds")
        if self.direction not in get_args(Direction):
            raise ConfigError(f"direction is {self.direction!r}; it must be 'maximize' or 'minimize'")
        check_aggregate(self.aggregate)

    @property
    def sign(self) -> float:
        """What makes more of a score better."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def rung(self) -> int:
        """Environment steps between two comparisons with other trials."""
        return max(1, self.trial_steps // RUNGS)

    @property
    def confirms(self) -> bool:
        """Whether the best are trained again on fresh seeds."""
        return self.top_k > 0 and self.confirm_seeds > 0

    @property
    def search_seeds(self) -> tuple[int, ...]:
        """Seeds of every trial."""
        return self._seeds(SEARCH_SEEDS, self.n_seeds)

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """Seeds that no trial uses."""
        return self._seeds(FRESH_SEEDS, self.confirm_seeds)

    def _seeds(self, kind: int, count: int) -> tuple[int, ...]:
        return tuple(derive_seed(self.seed, Domain.TRIAL, kind, i) for i in range(count))


_WHOLE = {
    "n_trials": 1,
    "trial_steps": 1,
    "n_startup_trials": 0,
    "pruner_warmup_steps": 0,
    "pruner_interval": 1,
    "n_seeds": 1,
    "top_k": 0,
    "confirm_seeds": 0,
    "max_errors": 1,
    "seed": 0,
}


class Workspace:
    """The directory of a search: one folder per training, of which only the leader's survives.

    Args:
        parent: Where to make it; None: among the system's temporary files.
        name: Begins its name.
        keep: Keep every training's folder.
    """

    def __init__(self, parent: Path | None, name: str, *, keep: bool) -> None:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        prefix = "optix-search-" if parent is None else re.sub(r"[^\w.=+-]+", "-", name) + "-"
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._keep = keep
        self.leader: tuple[int, float, Path] | None = None
        """Number, score and weights of the best trial of this process."""

    def offer(self, number: int, score: float, weights: Path, *, sign: float) -> None:
        """A finished trial: the leader from now on if it is better."""
        if self.leader is None or sign * score > sign * self.leader[1]:
            self.leader = number, score, weights
        self.tidy()

    def tidy(self, *kept: Path) -> None:
        """Delete every training's folder but the leader's and those that hold one of ``kept``."""
        if self._keep:
            return
        wanted = [*kept, *(() if self.leader is None else (self.leader[2],))]
        for folder in self.path.iterdir():
            if not any(path.is_relative_to(folder) for path in wanted):
                shutil.rmtree(folder, ignore_errors=True)

    def crown(self, weights: Path | None) -> None:
        """The search is over: only the winner's files remain."""
        self.leader = None
        self.tidy(*(() if weights is None else (weights,)))

    def delete(self) -> None:
        """Everything."""
        shutil.rmtree(self.path, ignore_errors=True)
