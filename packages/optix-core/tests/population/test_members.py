"""Who copies whom."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.population.members import Member, founders, next_generation, ranked
from optix_core.tuners.space import UnitSpace

PARAMS = {"pace": 1e-2, "rounds": 5, "gamma": 0.9}
SPACE = UnitSpace.of(PARAMS, {"pace": (1e-4, 1.0), "rounds": (1, 9)}, ("pace",))


def member(number, score, **given):
    given = {"params": dict(PARAMS), "state": {"of": number}, "steps": 100 * number, **given}
    return Member(number=number, score=score, schedule=((0, dict(PARAMS)),), **given)


def select(members, share=0.25, scale=0.1, seed=0):
    return next_generation(members, SPACE, share=share, scale=scale, rng=np.random.default_rng(seed))


def test_the_first_founder_has_the_given_values_and_the_others_the_whole_space():
    found = founders(PARAMS, SPACE, 400, np.random.default_rng(0))
    assert found[0].params == PARAMS
    assert [m.number for m in found] == list(range(400))
    logs = np.log10([m.params["pace"] for m in found[1:]])
    assert (logs.min() < -3.9, logs.max() > -0.1) == (True, True)
    np.testing.assert_allclose(np.quantile(logs, [0.25, 0.5, 0.75]), [-3, -2, -1], atol=0.3)
    assert {m.params["rounds"] for m in found} == set(range(1, 10))
    assert {m.params["gamma"] for m in found} == {0.9}  # without a range it is nobody's to change
    assert all(m.state is None and m.score is None and not m.schedule for m in found)


def test_the_last_take_over_everything_of_the_first_and_change_the_values_a_little():
    before = [member(k, float(k)) for k in range(8)]
    after = select(before)
    assert [m.number for m in after] == list(range(8))
    assert [m.parent in {6, 7} for m in after] == [True, True] + [False] * 6
    for copy in after[:2]:
        parent = before[copy.parent]
        assert (copy.state, copy.steps, copy.score, copy.schedule) == (
            parent.state, parent.steps, parent.score, parent.schedule,
        )  # fmt: skip
        assert copy.params != parent.params
        shift = np.log10(copy.params["pace"] / parent.params["pace"]) / 4
        assert abs(shift) <= 0.1
        assert isinstance(copy.params["rounds"], int)
    for kept, old in zip(after[2:], before[2:], strict=True):
        assert (kept.params, kept.state) == (old.params, old.state)


def test_all_of_the_first_are_copied_in_the_long_run():
    before = [member(k, float(k)) for k in range(8)]
    parents = {m.parent for seed in range(40) for m in select(before, seed=seed)}
    assert parents == {None, 6, 7}


def test_nobody_copies_who_is_not_ahead():
    assert all(m.parent is None for m in select([member(k, 1.0) for k in range(8)]))


def test_without_a_score_one_copies_from_any_rank():
    before = [member(0, 3.0), member(1, None), member(2, None, state=None), member(3, 1.0), member(4, 2.0)]
    after = select(before)
    # the last of the order is a failed one; the member with the lowest score stays what it is
    assert [m.parent for m in after] == [None, 0, 0, None, None]


def test_where_nobody_has_a_score_everybody_tries_again():
    before = [member(k, None, state=None) for k in range(3)]
    assert [m.params for m in select(before)] == [m.params for m in before]


def test_order():
    members = [member(0, None), member(1, 2.0), member(2, 5.0), member(3, 2.0)]
    assert [m.number for m in ranked(members)] == [2, 1, 3, 0]


@pytest.mark.parametrize("share, copies", [(0.5, 4), (0.3, 2), (0.01, 1)])
def test_the_share_is_of_the_population(share, copies):
    after = select([member(k, float(k)) for k in range(8)], share=share)
    assert sum(m.parent is not None for m in after) == copies


def test_a_schedule_grows_where_values_change_and_only_there():
    one = member(3, 1.0)
    assert one.begins() is one
    other = Member(number=0, params={"pace": 0.5}, steps=70, schedule=((0, {"pace": 0.1}),))
    assert other.begins().schedule == ((0, {"pace": 0.1}), (70, {"pace": 0.5}))
