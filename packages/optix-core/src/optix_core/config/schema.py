"""Which settings a run has: one frozen record, checked at every level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from optix_core.config.fields import Field, check_names, scalar_parameters
from optix_core.config.provenance import Provenance, came_from
from optix_core.errors import ConfigError

TOP: dict[str, Field] = {
    "env": Field(kinds=("str",), help="registered id of the environment, for example CartPole-v1"),
    "env_kwargs": Field(kinds=("table",), default={}, help="keyword arguments of the environment"),
    "preset": Field(
        kinds=("str", "table", "none"),
        help="name of a preset, or auto: its settings are used where none are given; see optix presets list",
    ),
    "algorithm": Field(
        kinds=("str", "none"), help="agent or algorithm; none: chosen by the environment's spaces"
    ),
    "framework": Field(kinds=("str", "none"), help="torch, tf, jax, ...; none: whatever is installed"),
    "deterministic": Field(kinds=("bool", "none"), help="prefer a deterministic policy"),
    "device": Field(kinds=("str", "none"), help="auto, cpu, cuda, cuda:1, ..."),
    "seed": Field(kinds=("int",), default=0, low=0, help="root seed of everything random in the run"),
    "n_envs": Field(kinds=("int",), default=1, low=1, help="environments stepped together"),
    "async_envs": Field(kinds=("bool",), default=False, help="environments in processes of their own"),
    "runner": Field(
        kinds=("str", "table", "none"),
        help="who collects, for example async: actors that collect while the agent learns; or a table with its name "
        "and options; none: this process",
    ),
    "window_size": Field(
        kinds=("int", "none"), low=1, help="steps per environment in one window; none: chosen"
    ),
    "max_steps": Field(kinds=("int", "none"), low=1, help="budget in environment steps; none: until done"),
    "max_episodes": Field(kinds=("int", "none"), low=1, help="budget in windows"),
    "max_seconds": Field(kinds=("float", "none"), low=0, open=True, help="budget in seconds"),
    "target_score": Field(kinds=("float", "none"), help="stop when the score holds this value"),
    "run_dir": Field(kinds=("str", "none"), help="directory of this run; none: a new one"),
    "agent": Field(kinds=("table",), default={}, help="hyperparameters and options of the agent"),
    "pipeline": Field(kinds=("table",), default={}, help="what to do about faults of the environment"),
    "optimizer": Field(
        kinds=("table",), default={}, help="options of RLOptimizer, for example delta or probe_windows"
    ),
    "tuner": Field(kinds=("table",), default={}, help="name of the tuner and its options"),
    "validation": Field(kinds=("table",), default={}, help="episodes per validation"),
    "callbacks": Field(
        kinds=("table", "str", "list"),
        default={},
        help="observers by name, for example rich,tensorboard, or a table for each with its options",
    ),
}
VALIDATION: dict[str, Field] = {
    "episodes": Field(kinds=("int",), default=10, low=0, help="greedy episodes per validation; 0: none"),
}
_NOT_IN_FILES = frozenset({
    "handle_signals", "resume",  # what the caller decides, not the run's description
    "n_trials", "trial_steps_fraction", "warm_start", "param_space",  # a search has a verb of its own
})  # fmt: skip
_ALIASES = {"checkpoint_dir": "optimizer.checkpoint_dir", "lr": "agent.learning_rate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that describes a run. Tables hold only what was given; defaults are those of the parts they configure.

    Attributes:
        env: Registered id of the environment.
        env_kwargs: Keyword arguments of the environment.
        preset: Which preset was applied (``name``, ``source``, ``digest``); its settings are among the others.
        algorithm: Agent or algorithm; None: chosen by the environment's spaces.
        framework: Backend; None: whatever is installed.
        deterministic: Whether to prefer a deterministic policy.
        device: Where the agent computes.
        seed: Root seed.
        n_envs: Environments stepped together.
        async_envs: Environments in processes of their own.
        runner: ``name`` and options of who collects; None: this process.
        window_size: Steps per environment in one window; None: chosen.
        max_steps: Budget in environment steps.
        max_episodes: Budget in windows.
        max_seconds: Budget in seconds.
        target_score: Stop when the score holds this value.
        run_dir: Directory of this run; None: a new one.
        agent: Hyperparameters and options of the agent.
        pipeline: Options of the training pipeline.
        optimizer: Options of :class:`~optix_core.rl_optimizer.RLOptimizer`.
        tuner: ``name`` and options of the tuner.
        validation: ``episodes`` per validation.
        callbacks: Observers by registered name, each with its options.
        provenance: Where each value came from; not part of what makes two configurations equal.
    """

    env: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    preset: Mapping[str, Any] | None = None
    algorithm: str | None = None
    framework: str | None = None
    deterministic: bool | None = None
    device: str | None = None
    seed: int = 0
    n_envs: int = 1
    async_envs: bool = False
    runner: Mapping[str, Any] | None = None
    window_size: int | None = None
    max_steps: int | None = None
    max_episodes: int | None = None
    max_seconds: float | None = None
    target_score: float | None = None
    run_dir: str | None = None
    agent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pipeline: Mapping[str, Any] = field(default_factory=dict[str, Any])
    optimizer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tuner: Mapping[str, Any] = field(default_factory=dict[str, Any])
    validation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    callbacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, "Mapping[str, Any]"])
    provenance: Provenance = field(default_factory=dict[str, str], compare=False, repr=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], provenance: Provenance | None = None) -> TrainConfig:
        """A checked configuration.

        Args:
            data: Nested settings. ``preset`` may be a name or ``"auto"``.
            provenance: Where they came from, for messages.

        Raises:
            ConfigError: ``env`` is missing, a name is unknown, or a value has the wrong type or is out of range.
        """
        origins = dict(provenance or {})
        elsewhere = {**{name: f"optimizer.{name}" for name in optimizer_fields()}, **_ALIASES}
        check_names(data, TOP, "", origins, elsewhere)
        data = _hoisted(data, origins)
        if data.get("preset") is not None:
            from optix_core.presets.apply import with_preset

            data = with_preset(data, origins)
        if data.get("env") is None:
            raise ConfigError(
                'no environment is given. Name one: optix train CartPole-v1, or env = "CartPole-v1" in the file'
            )
        values = {name: TOP[name].checked(name, value, origins) for name, value in data.items()}
        for section, known in (
            ("optimizer", optimizer_fields),
            ("pipeline", pipeline_fields),
            ("validation", lambda: VALIDATION),
        ):
            if values.get(section):
                values[section] = _table(values[section], known(), section, origins)
        if values.get("runner") is not None:
            values["runner"] = _runner(values["runner"], origins)
        if "tuner" in values:
            values["tuner"] = _tuner(values["tuner"], origins)
        if "callbacks" in values:
            values["callbacks"] = callback_tables(values["callbacks"], origins)
        for section in ("agent", "env_kwargs"):
            values[section] = dict(values.get(section, {}))
        for name in values["agent"]:
            if name in TOP:
                full = f"agent.{name}"
                raise ConfigError(f"{full}{came_from(full, origins)} is spelled {name}, at the top level")
        return cls(**values, provenance=origins)


def callback_tables(value: Any, origins: Provenance | None = None) -> dict[str, dict[str, Any]]:
    """Observers with their options, however they were given: ``"rich,tensorboard"``, a list of names, or tables.

    Raises:
        ConfigError: A name is no text, comes twice or has something else than a table of options.
    """
    place = came_from("callbacks", origins or {})
    found: dict[str, dict[str, Any]] = {}
    if isinstance(value, Mapping):
        for name, options in cast("Mapping[str, Any]", value).items():
            if not isinstance(options, Mapping):
                raise ConfigError(
                    f"callbacks.{name} is {options!r}{place}, but it must be a table of options: callbacks = "
                    f'["{name}"] for none, callbacks.{name}.OPTION = ... for some'
                )
            found[str(name)] = dict(cast("Mapping[str, Any]", options))
        return found
    names: list[Any] = value.split(",") if isinstance(value, str) else list(value)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"callbacks holds {name!r}{place}; it lists names, for example rich,tensorboard"
            )
        if name.strip() in found:
            raise ConfigError(f"callbacks names {name.strip()} twice{place}")
        found[name.strip()] = {}
    return found


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Nested plain data; ``TrainConfig.from_dict`` makes an equal configuration of it."""
    result: dict[str, Any] = {}
    for item in fields(config):
        if item.name != "provenance":
            value = getattr(config, item.name)
            result[item.name] = _plain(value)
    return result


def optimizer_fields() -> dict[str, Field]:
    """What ``[optimizer]`` may hold: the scalar options of RLOptimizer that have no place at the top level."""
    from optix_core.rl_optimizer import RLOptimizer

    found = scalar_parameters(RLOptimizer.__init__)
    return {name: spec for name, spec in found.items() if name not in TOP and name not in _NOT_IN_FILES}


def pipeline_fields() -> dict[str, Field]:
    """What ``[pipeline]`` may hold."""
    from typing import get_args

    from optix_core.pipelines.faults import OnEnvError, OnNonFinite

    return {
        "on_env_error": Field(kinds=("str",), default="raise", choices=get_args(OnEnvError)),
        "on_nonfinite": Field(kinds=("str",), default="raise", choices=get_args(OnNonFinite)),
        "fresh_env_per_episode": Field(kinds=("bool",), default=False),
        "strict": Field(kinds=("bool",), default=False),
    }


def tuner_fields(name: str) -> dict[str, Field] | None:
    """Options of a tuner of core, None for those of plugins, which check their own."""
    if name == "fixed":
        return {}
    if name == "replay":
        return {"run": Field(kinds=("str",), help="directory of the run whose schedule is replayed")}
    from optix_core import tuners

    classes = {
        "spsa": "SPSAOptimizer",
        "momentum": "MomentumOptimizer",
        "backoff": "BackoffOptimizer",
        "pbt": "PBTOptimizer",
        "adaptive": "AdaptiveOptimizer",
    }
    if name not in classes:
        return None
    found = scalar_parameters(getattr(tuners, classes[name]).__init__)
    return {**found, "mode": Field(kinds=("str",), default="branched", choices=("branched", "two_probe"))}


def _table(
    data: Mapping[str, Any], known: Mapping[str, Field], section: str, origins: Provenance
) -> dict[str, Any]:
    elsewhere = dict.fromkeys(TOP, "")
    elsewhere = {name: f"{name}, at the top level" for name in elsewhere if name not in known}
    check_names(data, known, section, origins, elsewhere)
    return {name: known[name].checked(f"{section}.{name}", value, origins) for name, value in data.items()}


def _tuner(data: Mapping[str, Any], origins: Provenance) -> dict[str, Any]:
    name = Field(kinds=("str",)).checked("tuner.name", data.get("name", "spsa"), origins)
    known = tuner_fields(name)
    options = {key: value for key, value in data.items() if key != "name"}
    if known is not None:
        options = _table(options, known, "tuner", origins)
    if name == "replay" and "run" not in options:
        raise ConfigError(
            f"tuner.name{came_from('tuner.name', origins)} is 'replay', which needs tuner.run, the run to replay; on "
            "the command line: --replay-schedule RUN"
        )
    return {"name": name, **options}


def _runner(data: str | Mapping[str, Any], origins: Provenance) -> dict[str, Any]:
    table: dict[str, Any] = {"name": data} if isinstance(data, str) else dict(data)
    if not isinstance(table.get("name"), str):
        raise ConfigError(
            f"runner{came_from('runner', origins)} has options ({', '.join(table)}) but no name; for example "
            "runner.name=async, or --runner async on the command line"
        )
    return table


def _hoisted(data: Mapping[str, Any], origins: dict[str, str]) -> dict[str, Any]:
    """``data`` with budget names that stand under ``[optimizer]`` moved to the top level, where they belong."""
    result = dict(data)
    if not isinstance(result.get("optimizer"), Mapping):
        return result
    section = cast("Mapping[str, Any]", result["optimizer"])
    kept: dict[str, Any] = {}
    for name, value in section.items():
        if name not in {"max_steps", "max_episodes", "max_seconds", "target_score", "seed", "run_dir"}:
            kept[name] = value
            continue
        full = f"optimizer.{name}"
        if name in result:
            raise ConfigError(
                f"{name} is given twice: as {name}{came_from(name, origins)} and as {full}{came_from(full, origins)}; "
                "give it once, at the top level"
            )
        result[name] = value
        if full in origins:
            origins[name] = origins.pop(full)
    result["optimizer"] = kept
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value
