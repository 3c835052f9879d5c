"""How a preset becomes part of a configuration: beneath everything else that was given, and on the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from optix_core.config.provenance import came_from, leaves
from optix_core.errors import ConfigError
from optix_core.presets.catalogue import AUTO, choose_preset, find_preset, is_for
from optix_core.presets.preset import Preset

_RECORD = frozenset({"name", "source", "digest"})


def with_preset(data: Mapping[str, Any], origins: dict[str, str]) -> dict[str, Any]:
    """``data`` with the settings of the preset that it names, where it has none of its own.

    A table in the place of the name is the record of a preset that has been applied before: nothing is added then, so
    that a run continues with exactly what it was started with, whatever has become of the preset since.

    Args:
        data: Nested settings.
        origins: Where they came from; what the preset sets is added.

    Raises:
        ConfigError: There is no such preset, or it is for another environment or algorithm.
    """
    wanted = data.get("preset")
    if wanted is None:
        return dict(data)
    if isinstance(wanted, Mapping):
        _check_record(cast("Mapping[str, Any]", wanted), origins)
        return dict(data)
    if not isinstance(wanted, str):
        raise ConfigError(
            f"preset is {wanted!r}{came_from('preset', origins)}; it must be a name, {AUTO} or none"
        )
    preset = _chosen(wanted, data, origins)
    result = dict(data)
    if result.get("env") is None:
        result["env"] = _only_environment(preset)
        origins["env"] = _origin(preset)
    for name, value in preset.settings().items():
        if isinstance(value, Mapping):
            table = cast("Mapping[str, Any]", value)
            own: Any = result.get(name, {})
            if not isinstance(own, Mapping):
                continue  # refused with the setting's own message later
            result[name] = {**table, **own}
            origins.update({f"{name}.{key}": _origin(preset) for key, _ in leaves(table) if key not in own})
        elif name not in result or (name == "algorithm" and result[name] is None):
            result[name] = value
            origins[name] = _origin(preset)
    asked = came_from("preset", origins)
    result["preset"] = preset.record()
    origins.pop("preset", None)
    origins.update(dict.fromkeys((f"preset.{key}" for key in _RECORD), f"{wanted}{asked}"))
    return result


def _chosen(wanted: str, data: Mapping[str, Any], origins: Mapping[str, str]) -> Preset:
    env, algorithm, framework = data.get("env"), data.get("algorithm"), data.get("framework")
    where = came_from("preset", origins)
    if wanted.lower() == AUTO:
        if not isinstance(env, str):
            raise ConfigError(
                f"preset is {AUTO}{where}, but no environment is given. Name one: optix train CartPole-v1 --preset "
                f"{AUTO}",
                code="E-PRESET",
            )
        return choose_preset(env, algorithm=algorithm, framework=framework)
    preset = find_preset(wanted)
    if isinstance(env, str) and not preset.fits(env):
        raise ConfigError(
            f"preset {preset.name}{where} is for {', '.join(preset.environments)}, not for {env}. To use its values "
            f"elsewhere, write them to a file and change that: optix presets show {preset.name} --toml",
            code="E-PRESET",
        )
    if algorithm is None:
        return preset
    same = preset.algorithm.casefold() == str(algorithm).rpartition(":")[2].casefold()
    if not same and not is_for(preset, str(algorithm), framework):
        raise ConfigError(
            f"preset {preset.name}{where} is for {preset.algorithm}, but algorithm is {algorithm}"
            f"{came_from('algorithm', origins)}; give one of them",
            code="E-PRESET",
        )
    return preset


def _only_environment(preset: Preset) -> str:
    only = preset.environments[0]
    if len(preset.environments) > 1 or set(only) & set("*?["):
        raise ConfigError(
            f"preset {preset.name} is for {', '.join(preset.environments)}; say which: optix train ENV --preset "
            f"{preset.name}",
            code="E-PRESET",
        )
    return only


def _check_record(record: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    if sorted(record) != sorted(_RECORD) or not all(isinstance(value, str) for value in record.values()):
        raise ConfigError(
            f'preset is a table{came_from("preset", origins)}; name one instead: preset = "cartpole/ppo", or '
            f'preset = "{AUTO}"',
            code="E-PRESET",
        )


def _origin(preset: Preset) -> str:
    return f"preset {preset.name}"
