"""Which verbs there are. A verb's module is imported only when the verb is chosen.

To add one: a row here, and a module with ``add_arguments(parser)`` and ``run(args) -> int``. ``args`` also has the
flags that every
verb accepts (see :mod:`optix_core.cli.flags`), and ``json`` if the row says so. Errors are raised, not printed: an
:class:`~optix_core.errors.OptixError` becomes one message on standard error and the exit status that fits it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line.

    Attributes:
        name: What is typed.
        help: One line for ``optix --help``.
        module: Has ``add_arguments(parser)`` and ``run(args) -> int``.
        json: The verb accepts ``--json``. Verbs with sub-commands add it themselves, where it applies.
    """

    name: str
    help: str
    module: str
    json: bool = False


VERBS: tuple[Verb, ...] = (
    Verb("train", "train an agent in an environment until it has converged", "optix_core.cli.train_cmd", json=True),
    Verb("tune", "search hyperparameters and confirm the best on fresh seeds", "optix_core.cli.tune_cmd", json=True),
    Verb("resume", "continue a run that was interrupted", "optix_core.cli.resume_cmd", json=True),
    Verb("eval", "play episodes with a trained policy", "optix_core.cli.evaluate_cmd", json=True),
    Verb("export", "write a trained policy as ONNX or for numpy alone", "optix_core.cli.export_cmd", json=True),
    Verb("explain", "tell in sentences what a run did and why", "optix_core.cli.explain_cmd", json=True),
    Verb("log", "write a run's curves for other programs", "optix_core.cli.log_cmd"),
    Verb("plot", "draw learning curves with states and decisions", "optix_core.cli.plot_cmd", json=True),
    Verb("config", "show a configuration: each value and where it came from", "optix_core.cli.config_cmd"),
    Verb("presets", "list or show settings that are known to work, with their source", "optix_core.cli.presets_cmd"),
    Verb("plugins", "list, examine, diagnose or create plugins", "optix_core.cli.plugins_cmd"),
    Verb("components", "list agents, tuners and all else, with who offers it", "optix_core.cli.components_cmd", True),
    Verb("agents", "show which agent an environment would get, and why", "optix_core.cli.agents_cmd"),
)  # fmt: skip
"""Verbs in the order of ``optix --help``; plugins may add others."""
