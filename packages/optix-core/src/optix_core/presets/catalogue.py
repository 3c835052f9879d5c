"""Which presets are there, and which one is meant?"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from optix_core.errors import ConfigError
from optix_core.presets.preset import Preset, read_preset

AUTO = "auto"
"""In the place of a name: the first preset for the environment whose agent is installed."""
DATA = Path(__file__).with_name("data")


@functools.cache
def all_presets() -> tuple[Preset, ...]:
    """Every preset, those of one environment together, the one to prefer first."""
    return read_presets(DATA)


def read_presets(folder: Path) -> tuple[Preset, ...]:
    """The presets in all ``*.toml`` files of a folder, by file name and in the order of each file.

    Raises:
        ConfigError: A file is no TOML, a preset is malformed, or two have the same name.
    """
    from optix_core.config.toml_reader import read_toml

    found: dict[str, Preset] = {}
    for path in sorted(folder.glob("*.toml")):
        data, _ = read_toml(path.read_text(encoding="utf-8"), path.name)
        if set(data) != {"preset"} or not isinstance(data["preset"], list):
            raise ConfigError(f"{path.name}: a file of presets holds [[preset]] tables and nothing else")
        for table in cast("list[dict[str, Any]]", data["preset"]):
            preset = read_preset(table, path.name)
            if preset.name in found:
                raise ConfigError(f"{path.name}: there are two presets of the name {preset.name}")
            found[preset.name] = preset
    return tuple(found.values())


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigError: There is none, with the nearest name.
    """
    from optix_core.plugins.hints import did_you_mean

    known = {preset.name: preset for preset in all_presets()}
    if name.lower() in known:
        return known[name.lower()]
    raise ConfigError(
        f"there is no preset {name!r}.{did_you_mean(name, known)} See: optix presets list", code="E-PRESET"
    )


def presets_for(env: str) -> tuple[Preset, ...]:
    """The presets that are meant for the environment of this id, the one to prefer first."""
    return tuple(preset for preset in all_presets() if preset.fits(env))


def choose_preset(env: str, *, algorithm: str | None = None, framework: str | None = None) -> Preset:
    """What ``auto`` means: the first preset for ``env`` whose agent is installed, and is the one asked for.

    Imports no framework.

    Args:
        env: Id of the environment.
        algorithm: Agent or algorithm that the user asked for; None: any.
        framework: Only agents of this framework; None: any.

    Raises:
        ConfigError: There is none; the message says which there are.
    """
    fitting = presets_for(env)
    if not fitting:
        from optix_core.plugins.hints import did_you_mean

        ids = sorted({pattern for preset in all_presets() for pattern in preset.environments})
        raise ConfigError(
            f"there is no preset for {env}.{did_you_mean(env, ids)} Leave it out, or see what there is: "
            "optix presets list",
            code="E-PRESET",
        )
    for preset in fitting:
        if agent_names(preset, framework) and (algorithm is None or is_for(preset, algorithm, framework)):
            return preset
    there = ", ".join(f"{preset.name} ({preset.algorithm})" for preset in fitting)
    asked = " and ".join(
        text
        for text in (algorithm and f"algorithm {algorithm}", framework and f"framework {framework}")
        if text
    )
    raise ConfigError(
        f"no preset for {env} fits {asked or 'an installed agent'}; there are: {there}. Leave out preset=auto, or "
        f"{'ask for one of these' if asked else 'install a backend: optix plugins list'}",
        code="E-PRESET",
    )


def is_for(preset: Preset, algorithm: str, framework: str | None = None) -> bool:
    """Whether the agent of ``preset`` is what a user means by ``algorithm``, qualified or not."""
    qualifier, _, name = algorithm.rpartition(":")
    names = {name.casefold() for name in agent_names(preset, framework, qualifier.strip() or None)}
    return name.strip().casefold() in names


def agent_names(preset: Preset, framework: str | None = None, qualifier: str | None = None) -> set[str]:
    """Every name that installed agents like the preset's answer to; empty if none is installed.

    Args:
        preset: Whose agent is looked for.
        framework: Only agents of this framework.
        qualifier: Only agents of this plugin or framework.
    """
    from optix_core.plugins.hints import canonical, framework_name
    from optix_core.plugins.registry import default_registry

    wanted = None if framework is None else framework_name(framework)
    found: set[str] = set()
    for component in default_registry().agents():
        spec = component.spec
        if spec.name.casefold() != preset.algorithm.casefold() or wanted not in {None, spec.framework}:
            continue
        owners = {canonical(component.record.name), spec.framework}
        if qualifier is None or owners & {canonical(qualifier), framework_name(qualifier)}:
            found |= set(spec.names)
    return found


def environments(presets: Iterable[Preset]) -> list[str]:
    """Ids and patterns of the environments that ``presets`` are meant for, without repetition."""
    return list(dict.fromkeys(pattern for preset in presets for pattern in preset.environments))
