"""Which checkpoint is best, and which may go. Pure functions of what the manifests say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Ranked(Protocol):
    """What ranking and retention look at."""

    @property
    def name(self) -> str:
        """Unique among the items."""
        ...

    @property
    def sequence(self) -> int:
        """Place in the order of writing."""
        ...

    @property
    def score(self) -> float | None:
        """Finite or None."""
        ...

    @property
    def pinned(self) -> bool:
        """Whether it must never be removed."""
        ...

    @property
    def family(self) -> str:
        """Equal for agents of the same architecture; scores of different ones hardly compare."""
        ...


R = TypeVar("R", bound=Ranked)


def by_score(items: Sequence[R]) -> list[R]:
    """Those with a score, best first; of equal scores the earlier one first."""
    return sorted((i for i in items if i.score is not None), key=lambda i: (-(i.score or 0.0), i.sequence))


def evictable(items: Sequence[R], keep: int | None, protected: Collection[str] = ()) -> list[R]:
    """What may be removed so that at most ``keep`` remain, oldest first.

    The best (overall, and of the newest one's architecture) and the newest always stay, as do pinned and
    ``protected`` ones, which don't count. Of the others, those without a score go before those with one
    (ensembles need those), and the second newest goes last, because it is what remains should the newest turn
    out damaged.

    Args:
        items: All checkpoints.
        keep: Upper limit of what counts; None keeps everything. The best and the newest stay even if it is 1.
        protected: Names that must stay, such as the checkpoint that the run was resumed from.
    """
    if keep is None:
        return []
    counted = sorted((i for i in items if not i.pinned and i.name not in protected), key=lambda i: i.sequence)
    newest = max(items, key=lambda i: i.sequence, default=None)
    spare = sorted(items, key=lambda i: i.sequence)[-2:-1]
    if newest is None:
        return []
    best = by_score(items)[:1] + by_score([i for i in items if i.family == newest.family])[:1]
    safe = {newest.name, *(i.name for i in best)}
    excess = len(counted) - keep
    candidates = [i for i in counted if i.name not in safe]
    candidates.sort(key=lambda i: (i in spare, i.score is not None, i.sequence))
    return sorted(candidates[: max(excess, 0)], key=lambda i: i.sequence)
