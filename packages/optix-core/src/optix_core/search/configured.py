"""A search over what a configuration describes, and its winner as a configuration again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.config.build import build_agent_from_config, make_env_from_config, resolve_agent_from_config
from optix_core.config.overrides import parse_value
from optix_core.config.schema import TOP, TrainConfig, config_to_dict
from optix_core.config.toml_writer import toml_text
from optix_core.errors import ConfigError
from optix_core.optimizer import default_window, training_pipeline, validation_pipeline
from optix_core.search.orchestrator import TrialOrchestrator
from optix_core.search.space import FORMS, Dimension, SearchSpace, declared_space
from optix_core.search.training import CONFIRM_EPISODES, OURS

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.search.report import SearchReport

FIRST_LINE = "# Found by optix tune"
TRIAL_SETTINGS = {"keep_watching": True, "probe_windows": 0, "confirm_episodes": CONFIRM_EPISODES}
"""What trials do differently from other trainings, as settings under ``optimizer``."""
_CHANGEABLE = frozenset({"confirm_episodes"})
"""Those of them that a configuration can set otherwise."""


def configured_search(
    config: TrainConfig, wanted: Sequence[str], *, allow_import: bool = False, **options: Any
) -> tuple[TrialOrchestrator, TrainConfig]:
    """A search whose trainings are those of ``config``.

    Args:
        config: What all trials share. Hyperparameters that it sets are not searched unless ``wanted`` names them.
        wanted: ``"name"`` for a declared range or ``"name=kind:lo:hi"``; empty: every declared range.
        allow_import: Environments may name a module.
        options: Further arguments of :class:`~optix_core.search.orchestrator.TrialOrchestrator`.

    Returns:
        The search, and the configuration with the agent that the environment gets written out.

    Raises:
        OptixError: The configuration or a range is wrong.
    """

    def make_env() -> Any:
        return make_env_from_config(config, allow_import=allow_import)

    env = make_env()
    try:
        config = dataclasses.replace(config, algorithm=resolve_agent_from_config(config, env).qualified)
        agent, _ = build_agent_from_config(config, env)
        try:
            factories: list[Callable[[], Any]] = [make_env] * config.n_envs
            window = config.window_size or default_window(agent, factories)
            space = wanted_space(agent, config, wanted)
        finally:
            agent.teardown()
    finally:
        env.close()

    def make_agent(params: Mapping[str, Any], *, seed: int) -> BaseAgent:
        own = make_env()
        try:
            return build_agent_from_config(with_params(config, params, seed), own)[0]
        finally:
            own.close()

    def make_pipeline(*, seed: int) -> BasePipeline:
        return training_pipeline(
            factories, window, seed=seed, async_envs=config.async_envs, options=dict(config.pipeline)
        )

    episodes = int(config.validation.get("episodes", 10))

    def make_validation(*, seed: int) -> BasePipeline:
        return validation_pipeline(make_env, episodes, seed)

    ignored = OURS | (set(TRIAL_SETTINGS) - _CHANGEABLE)
    shared = {name: value for name, value in config.optimizer.items() if name not in ignored}
    search = TrialOrchestrator(
        make_agent,
        make_pipeline,
        space.forms,
        val_pipeline_factory=make_validation if episodes > 0 else None,
        rloptimizer_kwargs=shared,
        seed=config.seed,
        **options,
    )
    return search, config


def with_params(config: TrainConfig, params: Mapping[str, Any], seed: int | None = None) -> TrainConfig:
    """``config`` with these hyperparameters, and another seed if one is given."""
    return dataclasses.replace(
        config, agent={**config.agent, **params}, seed=config.seed if seed is None else seed
    )


def wanted_space(agent: BaseAgent, config: TrainConfig, wanted: Sequence[str]) -> SearchSpace:
    """What to vary.

    Raises:
        ConfigError: A range is malformed, not declared, of something that is no setting of the agent, or nothing is
            left to search.
    """
    if not wanted:
        free = [d for d in declared_space(agent) if d.name not in config.agent]
        if not free:
            raise ConfigError(
                "every hyperparameter with a declared range is set in the configuration, so nothing is left to search; "
                "leave some out, or name what to vary: --search learning_rate"
            )
        return SearchSpace(tuple(free))
    found: list[Dimension] = []
    for item in wanted:
        name, equals, form = item.partition("=")
        name = name.strip().removeprefix("agent.")
        if name in TOP:
            raise ConfigError(
                f"--search {item}: {name} is no hyperparameter of the agent; only those can be varied"
            )
        found += [parsed_dimension(name, form)] if equals else declared_space(agent).subset([name])
    names = [d.name for d in found]
    if len(set(names)) < len(names):
        raise ConfigError("--search names a hyperparameter twice")
    return SearchSpace(tuple(found))


def parsed_dimension(name: str, form: str) -> Dimension:
    """``"log_float:1e-4:1e-2"`` or ``"categorical:32:64"`` as a dimension.

    Raises:
        ConfigError: It is malformed.
    """
    kind, *values = form.split(":")
    if kind.strip() not in FORMS or not values:
        examples = "log_float:1e-4:1e-2, int:1:20, log_complement:0.9:0.999 or categorical:32:64:128"
        raise ConfigError(f"--search {name}={form}: what follows = must read like {examples}")
    entry = (kind.strip(), *(parse_value(value) for value in values))
    return next(iter(SearchSpace.parse({name: entry})))


def winning_config(config: TrainConfig, report: SearchReport) -> TrainConfig:
    """``config`` with the winner's hyperparameters, and no tuner that would change them unless it names one."""
    tuner = dict(config.tuner) or {"name": "fixed"}
    return dataclasses.replace(with_params(config, report.winner.params), tuner=tuner)


def write_config(path: Path, config: TrainConfig, report: SearchReport) -> None:
    """Write the winner so that ``optix train --config`` trains with it.

    Raises:
        ConfigError: The file cannot be written.
    """
    comments = [f"{FIRST_LINE} in study {report.study}", *report.lines()[1:]]
    again = repeat_command(path, report, config)
    if again is not None:
        comments += ["Repeats the first run on a fresh seed, to the same score:", again]
    comments.append("Without [tuner], hyperparameters are tuned further while training.")
    head = [comments[0], *(f"# {line}" for line in comments[1:])]
    # a preset's settings are among the others, and the place of a run is not part of what was found
    data = {**config_to_dict(config), "preset": None, "run_dir": None}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(head) + "\n\n" + toml_text(data), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def repeat_command(path: Path, report: SearchReport, config: TrainConfig) -> str | None:
    """The command that repeats the winner's first training on a fresh seed; None if there was none."""
    winner = report.winner
    if not winner.fresh_scores:
        return None
    settings = {n: v for n, v in TRIAL_SETTINGS.items() if n not in _CHANGEABLE or n not in config.optimizer}
    words = [f"optimizer.{name}={str(value).lower()}" for name, value in settings.items()]
    words = [f"max_steps={report.trial_steps}", f"--seed {winner.fresh_seeds[0]}", *words]
    return f"optix train --config {shlex.quote(str(path))} {' '.join(words)}"


def check_out(path: Path) -> None:
    """Make sure, before anything is searched, that the winner can be written there.

    Raises:
        ConfigError: It holds something else.
    """
    if not path.exists():
        return
    try:
        ours = path.read_text(encoding="utf-8").startswith(FIRST_LINE)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise ConfigError(f"{path} exists and was not written by optix tune; choose another file with --out")
