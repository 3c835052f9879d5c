"""When does a check count, and how is that said?"""

from __future__ import annotations

import json

import pytest

from optix_core.testing.report import (
    Check,
    CheckFailed,
    NotApplicable,
    Report,
    known_failures,
    require,
    run_check,
    run_checks,
)


def passes(subject: object) -> None:
    del subject


def fails(subject: object) -> None:
    require(False, f"{subject} is wrong")


def breaks(subject: object) -> None:
    raise ZeroDivisionError("oops")


def abstains(subject: object) -> None:
    raise NotApplicable("nothing to ask")


def check(run, **kwargs) -> Check:
    return Check(id=run.__name__, run=run, summary="a rule", **kwargs)


@pytest.mark.parametrize(
    "run, expected, outcome, message",
    [
        (passes, {}, "passed", ""),
        (fails, {}, "failed", "it is wrong"),
        (breaks, {}, "failed", "ZeroDivisionError: oops"),
        (abstains, {}, "skipped", "nothing to ask"),
        (fails, {"fails": "known"}, "expected", "known: it is wrong"),
        (breaks, {"breaks": "known"}, "expected", "known: ZeroDivisionError: oops"),
        (
            passes,
            {"passes": "known"},
            "unexpected",
            "passed, but was announced to fail (known); drop the entry",
        ),
        (abstains, {"abstains": "known"}, "skipped", "nothing to ask"),
    ],
)
def test_outcomes(run, expected: dict[str, str], outcome: str, message: str) -> None:
    found = run_check(check(run), "it", expected)
    assert (found.outcome, found.message) == (outcome, message)


@pytest.mark.parametrize(
    "core, outcome", [("0.1.0", "warned"), ("0.2.0.dev3", "failed"), ("0.2.0", "failed"), ("1.0", "failed")]
)
def test_a_new_check_only_warns_until_it_is_enforced(core: str, outcome: str) -> None:
    found = run_check(check(fails, since="0.1", enforced="0.2"), "it", {}, core=core)
    assert found.outcome == outcome
    assert ("counts from optix-core 0.2 on" in found.message) == (outcome == "warned")


def test_a_report_is_ok_unless_something_failed_or_passed_unexpectedly() -> None:
    good = run_checks(
        "x", [check(passes), check(abstains), check(fails)], "it", expected_failures={"fails": "known"}
    )
    assert good.ok
    good.raise_if_failed()
    for bad in (
        run_checks("x", [check(fails)], "it"),
        run_checks("x", [check(passes)], "it", expected_failures={"passes": "y"}),
    ):
        assert not bad.ok
        with pytest.raises(CheckFailed, match="x: "):
            bad.raise_if_failed()


def test_slow_checks_are_left_out_unless_asked_for() -> None:
    checks = [check(passes), check(fails, slow=True)]
    assert [r.id for r in run_checks("x", checks, "it").results] == ["passes"]
    assert [r.id for r in run_checks("x", checks, "it", slow=True).results] == ["passes", "fails"]


def test_a_report_is_plain_data_and_reads_well() -> None:
    report = run_checks("optix-x:Y", [check(passes), check(fails), check(abstains)], "it")
    assert json.loads(json.dumps(report.to_dict()))["results"][1]["outcome"] == "failed"
    assert str(report).splitlines() == [
        "optix-x:Y: 1 passed, 1 failed, 1 skipped",
        "  failed fails: it is wrong",
    ]
    assert report.outcome("passes") == "passed"
    with pytest.raises(KeyError):
        report.outcome("nothing")
    assert Report(subject="x", results=()).ok


def test_unknown_and_unexplained_expectations_are_errors() -> None:
    checks = [check(passes), check(fails)]
    with pytest.raises(ValueError, match="'fial', which is no check; did you mean fails"):
        known_failures(checks, {"fial": "reason"})
    with pytest.raises(ValueError, match="needs a reason"):
        known_failures(checks, {"fails": "  "})


def test_an_interrupt_is_not_a_finding() -> None:
    def stops(subject: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check(check(stops), "it", {})
