"""From a file, environment variables and the command line to one checked configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optix_core.config.overrides import apply_overrides, full_name, parse_value, set_dotted, split_override
from optix_core.config.provenance import CLI, env_var, leaves
from optix_core.config.schema import TOP, TrainConfig, callback_tables, optimizer_fields
from optix_core.errors import ConfigError

MAX_BYTES = 1_000_000
ENV_VARS = {
    f"OPTIX_{name.upper()}": name
    for name in ("device", "max_episodes", "max_seconds", "max_steps", "n_envs", "run_dir", "seed")
}
"""Environment variables that set something, between file and command line."""


def load_config(
    path: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    agent_options: Iterable[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> TrainConfig:
    """Defaults, overridden by the file, then environment variables, then ``settings`` and ``overrides``.

    Args:
        path: A ``.toml``, ``.yaml`` or ``.yml`` file; None: no file.
        overrides: ``"name=value"``; short names are resolved (``learning_rate=1e-3`` is ``agent.learning_rate``).
        settings: Dotted names and values that are already parsed, for example from command-line flags.
        agent_options: Names that agents know, for short names; None: every unknown short name is taken as an
            agent's, and the agent itself refuses it.
        environ: Instead of the process's environment variables.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ConfigError: Anything else that is wrong, with the place.
    """
    data, origins = ({}, {}) if path is None else read_file(path)
    for variable, name in ENV_VARS.items():
        text = (os.environ if environ is None else environ).get(variable)
        if text:
            set_dotted(data, name, parse_value(text) if TOP[name].kinds[0] != "str" else text)
            origins[name] = env_var(variable)
    for name, value in (settings or {}).items():
        set_dotted(data, name, value)
        origins[name] = CLI
    for item in overrides or ():
        short, _ = split_override(item)
        name = _resolved(short, agent_options)
        if name.startswith("callbacks.") and "callbacks" in data:  # names listed before get their options
            data["callbacks"] = callback_tables(data["callbacks"], origins)
        data = apply_overrides(data, [f"{name}={item.partition('=')[2]}"])
        origins = {k: v for k, v in origins.items() if not k.startswith(f"{name}.")}
        origins[name] = CLI
    return TrainConfig.from_dict(data, _complete(data, origins))


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings in a file and ``"name:line"`` for each dotted name.

    Raises:
        FileNotFoundError: It does not exist.
        ConfigError: It cannot be read, is too large, of an unknown kind or malformed.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if not file.exists():
        raise FileNotFoundError(f"there is no configuration file {os.fspath(path)!r}")
    if file.is_dir():
        raise ConfigError(
            f"{os.fspath(path)!r} is a directory; a configuration is a .toml, .yaml or .yml file"
        )
    if suffix not in {".toml", ".yaml", ".yml"}:
        raise ConfigError(
            f"{file.name}: files of kind {suffix or '(none)'!r} are not known; use .toml, .yaml or .yml"
        )
    try:
        raw = file.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{file.name} holds {len(raw):,} bytes; a configuration may have {MAX_BYTES:,}")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{os.fspath(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name} is not UTF-8 text (byte {error.start})") from None
    if suffix == ".toml":
        from optix_core.config.toml_reader import read_toml

        return read_toml(text, file.name)
    from optix_core.config.yaml_reader import read_yaml

    return read_yaml(text, file.name)


def _resolved(name: str, agent_options: Iterable[str] | None) -> str:
    """The dotted name of a setting typed on the command line."""
    if "." in name or name in TOP:
        return name
    options = list(optimizer_fields())
    if agent_options is None:
        return f"optimizer.{name}" if name in options else f"agent.{name}"
    return full_name(name, TOP, {"agent": agent_options, "optimizer": options})


def _complete(data: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, str]:
    """An origin for every leaf: its own line, or that of the nearest table above it."""
    result = dict(origins)
    for name, _ in leaves(data):
        above = name
        while above and above not in origins:
            above = above.rpartition(".")[0]
        if above:
            result.setdefault(name, origins[above])
    return result
