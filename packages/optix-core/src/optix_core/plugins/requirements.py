"""Is a requirement met, judged by the metadata of what is installed and without importing it?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement that is not met.

    Attributes:
        requirement: As the plugin wrote it, without its marker: what an installer should be given.
        found: The version that is installed, None if none is.
    """

    requirement: str
    found: str | None


def unmet(requires: Iterable[str]) -> tuple[Unmet, ...]:
    """Those of ``requires`` that this environment does not meet.

    Versions are compared by their base (``2.7.0.dev3`` counts as 2.7.0): who runs a development version of a dependency
    wants it to be used. Requirements whose marker does not apply here are met.

    Raises:
        ValueError: One of them is not a PEP 508 requirement.
    """
    requires = tuple(requires)
    if not requires:
        return ()
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    missing: list[Unmet] = []
    for text in requires:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = None
        if found is None or not satisfies(str(requirement.specifier), found):
            missing.append(Unmet(f"{requirement.name}{requirement.specifier}", found))
    return tuple(missing)


def satisfies(specifier: str, version: str) -> bool:
    """Whether ``version``, or its base if it is a pre-release, lies in ``specifier`` (``">=0.1,<1"``).

    Raises:
        ValueError: The specifier is not valid. An unreadable version satisfies only an empty specifier.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    allowed = SpecifierSet(specifier)
    try:
        parsed = Version(version)
    except InvalidVersion:
        return not specifier.strip()
    return allowed.contains(parsed, prereleases=True) or (
        parsed.is_prerelease and allowed.contains(parsed.base_version, prereleases=True)
    )


def core_requirement(requires: Iterable[str], core: str) -> str | None:
    """The specifier that a distribution puts on optix-core itself, None if it has none that applies here.

    Args:
        requires: The distribution's ``Requires-Dist`` lines.
        core: The canonical name of optix-core.
    """
    lines = [line for line in requires if line.replace("_", "-").lower().startswith(core)]
    if not lines:
        return None
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: list[str] = []
    for line in lines:
        requirement = Requirement(line)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) == core and applies and requirement.specifier:
            found.append(str(requirement.specifier))
    return ",".join(found) or None
