"""Is what a plugin says about itself true, before anything is built? The same questions for every kind of component."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from optix_core.testing.report import Check, CheckFailed, NotApplicable, require

HEAVY = (
    "numpy",
    "gymnasium",
    "scipy",
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "optax",
    "optuna",
    "pandas",
)
"""What a plugin module must not import: listing plugins has to stay quick."""


class Described(Protocol):
    """What these checks need to know of a subject."""

    @property
    def spec(self) -> Any:
        """Its spec, or None."""
        ...

    @property
    def record(self) -> Any:
        """Its plugin's record, or None."""
        ...


def _spec(subject: Described) -> Any:
    if subject.spec is None:
        raise NotApplicable("it was given without a spec")
    return subject.spec


def _distribution(subject: Described) -> importlib.metadata.Distribution:
    if subject.record is None or subject.record.dist is None:
        raise NotApplicable("it is not part of an installed distribution")
    return importlib.metadata.distribution(subject.record.dist)


def depends_on_core(subject: Described) -> None:
    """The distribution requires optix-core, with an upper bound."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    dist = _distribution(subject)
    if canonicalize_name(dist.name) == "optix-core":
        raise NotApplicable("it is part of optix-core")
    needs = [Requirement(text) for text in dist.requires or ()]
    core = [
        r
        for r in needs
        if canonicalize_name(r.name) == "optix-core"
        and (r.marker is None or r.marker.evaluate({"extra": ""}))
    ]
    require(core, f"{dist.name} does not require optix-core")
    bounded = any(s.operator in {"<", "<=", "==", "~="} for r in core for s in r.specifier)
    require(bounded, f"{dist.name} requires {core[0]} without an upper bound; write optix-core>=X.Y,<1")


def entry_point(subject: Described) -> None:
    """The distribution names the plugin module in the group ``optix_core.plugins``."""
    from optix_core.plugin import ENTRY_POINT_GROUP

    dist = _distribution(subject)
    values = [point.value for point in dist.entry_points.select(group=ENTRY_POINT_GROUP)]
    require(values, f"{dist.name} has no entry point in the group {ENTRY_POINT_GROUP}")
    require(
        subject.record.target in values, f"the plugin came from {subject.record.target}, not from {values}"
    )


def declares_api(subject: Described) -> None:
    """The plugin module says which API it was written for."""
    if subject.record is None:
        raise NotApplicable("it is not part of a plugin")
    require(subject.record.api, "the plugin module has no OPTIX_API; write OPTIX_API = '1.0'")


def light_module(subject: Described) -> None:
    """Importing the plugin module loads no framework, numpy or gymnasium."""
    if subject.record is None or not subject.record.target or subject.record.origin == "local":
        raise NotApplicable("another process cannot import the plugin module")
    module = subject.record.target.partition(":")[0]
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    paths = [p for p in sys.path if p]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    require(done.returncode == 0, f"importing {module} alone failed: {done.stderr.strip()[-300:]}")
    heavy = json.loads(done.stdout.splitlines()[-1])
    require(not heavy, f"importing {module} loads {', '.join(heavy)}; move that behind the factory string")


def spec_roundtrip(subject: Described) -> None:
    """The spec survives JSON."""
    from optix_core.plugins.specs import spec_from_dict

    spec = _spec(subject)
    again = spec_from_dict(json.loads(json.dumps(spec.to_dict())))
    require(again == spec, f"through JSON, {spec} became {again}")


def summary(subject: Described) -> None:
    """The spec has a summary for listings."""
    require(_spec(subject).summary.strip(), "the spec has no summary; say in one line what it is")


def factory_resolves(subject: Described) -> None:
    """The factory string leads to something callable."""
    spec = _spec(subject)
    try:
        found = pkgutil.resolve_name(spec.factory)
    except Exception as error:
        raise CheckFailed(f"importing {spec.factory!r} failed: {type(error).__name__}: {error}") from error
    require(callable(found), f"{spec.factory!r} is {found!r}, which cannot be called")


def requirements(subject: Described) -> None:
    """What the spec requires is written as pip understands it."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in _spec(subject).requires:
        try:
            Requirement(text)
        except InvalidRequirement as error:
            raise CheckFailed(f"requires has {text!r}: {error}") from error


def typed(subject: Described) -> None:
    """The package of the plugin module has a ``py.typed``."""
    _distribution(subject)
    package = subject.record.target.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(package)
    require(spec is not None and spec.origin, f"{package} cannot be found")
    assert spec is not None
    assert spec.origin is not None
    require(
        Path(spec.origin).with_name("py.typed").exists(),
        f"{package} has no py.typed: its types are invisible",
    )


CHECKS: tuple[Check[Any], ...] = (
    Check(id="static-entry-point", run=entry_point, summary="The distribution names the plugin module."),
    Check(
        id="static-depends-on-core",
        run=depends_on_core,
        summary="optix-core is required with an upper bound.",
    ),
    Check(id="static-api", run=declares_api, summary="The plugin module says which API it was written for."),
    Check(id="static-light", run=light_module, summary="Importing the plugin module loads nothing heavy."),
    Check(id="static-spec", run=spec_roundtrip, summary="The spec survives JSON."),
    Check(id="static-summary", run=summary, summary="The spec has a summary."),
    Check(id="static-factory", run=factory_resolves, summary="The factory string leads to a callable."),
    Check(id="static-requires", run=requirements, summary="Requirements can be parsed."),
    Check(id="static-typed", run=typed, summary="The package is marked as typed."),
)
