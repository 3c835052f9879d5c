"""What may go, against an independent statement of the rule."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.checkpoints.retention import by_score, evictable


@dataclass(frozen=True)
class Item:
    name: str
    sequence: int
    score: float | None
    pinned: bool = False
    family: str = "a"


def items(*scores: float | None) -> list[Item]:
    return [Item(str(i), i, score) for i, score in enumerate(scores)]


def names(found: list[Item]) -> list[str]:
    return [i.name for i in found]


def test_known_cases() -> None:
    assert names(by_score(items(1.0, None, 3.0, 3.0, -2.0))) == ["2", "3", "0", "4"]
    assert evictable([], 1) == []
    assert evictable(items(1.0), 1) == []
    assert names(evictable(items(100.0, 5.0, 4.0), 2)) == ["1"]
    assert names(evictable(items(100.0, 5.0), 1)) == []
    assert names(evictable(items(None, None, None), 1)) == ["0", "1"]
    assert names(evictable(items(1.0, None, 2.0, 3.0, None, None), 4)) == ["1", "0"][::-1]
    assert evictable(items(1.0, 2.0, 3.0), None) == []


def test_the_second_newest_goes_last() -> None:
    assert names(evictable(items(9.0, 1.0, 2.0, None, None), 3)) == ["1", "2"]


def test_the_best_of_the_present_architecture_stays_beside_a_better_one_of_another() -> None:
    old = [Item("old", 0, 100.0, family="b")]
    new = [Item(f"n{i}", i, s) for i, s in ((1, 7.0), (2, 1.0), (3, 2.0), (4, 3.0))]
    assert names(evictable([*old, *new], 3)) == ["n2", "n3"]


ITEMS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([0.0, 1.0])),
        st.booleans(),
        st.sampled_from("ab"),
    ),
    max_size=12,
).map(lambda rows: [Item(str(i), i, s, p, f) for i, (s, p, f) in enumerate(rows)])


@settings(max_examples=500, deadline=None)
@given(ITEMS, st.integers(1, 6), st.sets(st.integers(0, 11).map(str), max_size=3))
def test_properties(given_items: list[Item], keep: int, protected: set[str]) -> None:
    gone = {i.name for i in evictable(given_items, keep, protected)}
    left = [i for i in given_items if i.name not in gone]
    assert not gone & protected
    assert not any(i.pinned for i in given_items if i.name in gone)
    if given_items:
        assert given_items[-1] in left
    scored = [i for i in given_items if i.score is not None]
    if scored:
        top = max(i.score for i in scored if i.score is not None)
        assert next(i for i in scored if i.score == top) in left
    counted = [i for i in left if not i.pinned and i.name not in protected]
    if gone:
        assert len(counted) >= keep
    assert len(counted) <= keep + 2
    # Again changes nothing.
    assert evictable(left, keep, protected) == []
