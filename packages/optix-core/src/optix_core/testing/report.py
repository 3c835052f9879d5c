"""What a conformance run found, and the rules by which a check counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, TypeVar

Outcome = Literal["passed", "failed", "skipped", "expected", "unexpected", "warned"]
"""``expected``: failed as announced. ``unexpected``: passed although a failure was announced.
``warned``: failed, not enforced yet."""

S = TypeVar("S")


class CheckFailed(AssertionError):
    """The component does not do what the contract asks."""


class NotApplicable(Exception):
    """The check says nothing about this component; the message says why."""


def require(condition: object, message: str) -> None:
    """Fail the running check unless ``condition`` is true.

    Raises:
        CheckFailed: With ``message``.
    """
    if not condition:
        raise CheckFailed(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[S]):
    """One question about a component.

    Attributes:
        id: Stable name, for example ``"act-member"``; what expected failures refer to.
        run: Raises if the answer is no.
        summary: The rule, in one sentence.
        slow: Takes many windows; left out unless asked for.
        since: optix-core version that introduced the check.
        enforced: optix-core version from which a failure counts; before, it is a warning. So a minor release of core
            never breaks a plugin's tests at once.
    """

    id: str
    run: Callable[[S], None]
    summary: str
    slow: bool = False
    since: str = "0.1"
    enforced: str = "0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The answer to one check.

    Attributes:
        id: The check's name.
        outcome: See :data:`Outcome`.
        message: Why it failed or was skipped; empty if it passed.
        seconds: CPU seconds spent.
    """

    id: str
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All answers for one component.

    Attributes:
        subject: What was checked, for example ``"optix-torch:PPO"``.
        results: One entry per check, in order.
    """

    subject: str
    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """No check failed, and none passed that was announced to fail."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results that make the component non-conforming."""
        return tuple(r for r in self.results if r.outcome in {"failed", "unexpected"})

    def outcome(self, check_id: str) -> Outcome:
        """The outcome of one check.

        Raises:
            KeyError: No such check was run.
        """
        for result in self.results:
            if result.id == check_id:
                return result.outcome
        raise KeyError(check_id)

    def raise_if_failed(self) -> None:
        """Raise with the whole report if the component does not conform.

        Raises:
            CheckFailed: At least one check failed.
        """
        if not self.ok:
            raise CheckFailed(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {"subject": self.subject, "ok": self.ok, "results": [asdict(r) for r in self.results]}

    def __str__(self) -> str:
        counts = {o: sum(r.outcome == o for r in self.results) for o in ("passed", "failed", "skipped")}
        lines = [f"{self.subject}: " + ", ".join(f"{n} {o}" for o, n in counts.items())]
        lines += [
            f"  {r.outcome} {r.id}: {r.message}"
            for r in self.results
            if r.outcome not in {"passed", "skipped"}
        ]
        return "\n".join(lines)


def known_failures(checks: Iterable[Check[Any]], expected: Mapping[str, str]) -> dict[str, str]:
    """``expected`` after making sure that every id exists and every reason says something.

    Raises:
        ValueError: An id is unknown (with the nearest known ones) or has no reason.
    """
    from difflib import get_close_matches

    known = [check.id for check in checks]
    for check_id, reason in expected.items():
        if check_id not in known:
            near = get_close_matches(check_id, known, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"expected_failures names {check_id!r}, which is no check{hint}")
        if not reason.strip():
            raise ValueError(f"expected_failures[{check_id!r}] needs a reason")
    return dict(expected)


def run_check(
    check: Check[S], subject: S, expected: Mapping[str, str], *, core: str | None = None
) -> CheckResult:
    """Run one check and judge the outcome.

    Args:
        check: What to run.
        subject: What it is asked about.
        expected: Announced failures, id to reason.
        core: The optix-core version that judges; the installed one by default.
    """
    import time

    from packaging.version import Version

    from optix_core._version import __version__

    started = time.process_time()

    def result(outcome: Outcome, message: str = "") -> CheckResult:
        return CheckResult(
            id=check.id, outcome=outcome, message=message, seconds=round(time.process_time() - started, 4)
        )

    try:
        check.run(subject)
    except NotApplicable as reason:
        return result("skipped", str(reason))
    except CheckFailed as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 (whatever a component raises is the finding)
        message = f"{type(error).__name__}: {error}"
    else:
        if check.id in expected:
            return result(
                "unexpected", f"passed, but was announced to fail ({expected[check.id]}); drop the entry"
            )
        return result("passed")
    if check.id in expected:
        return result("expected", f"{expected[check.id]}: {message}")
    if Version(Version(core or __version__).base_version) < Version(check.enforced):
        return result("warned", f"{message} (counts from optix-core {check.enforced} on)")
    return result("failed", message)


def run_checks(
    name: str,
    checks: Iterable[Check[S]],
    subject: S,
    *,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Run a list of checks.

    Args:
        name: What the report calls the subject.
        checks: The list.
        subject: What they are asked about.
        expected_failures: Announced failures, id to reason.
        slow: Include those marked slow.

    Raises:
        ValueError: ``expected_failures`` names an unknown check or gives no reason.
    """
    chosen = tuple(checks)
    expected = known_failures(chosen, expected_failures or {})
    return Report(
        subject=name, results=tuple(run_check(c, subject, expected) for c in chosen if slow or not c.slow)
    )
