"""``optix tune ENV [name=value ...]``: search hyperparameters, confirm the best on fresh seeds, write the winner."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_config_flags, add_settings, config_from

if TYPE_CHECKING:
    from optix_core.config.schema import TrainConfig
    from optix_core.search.orchestrator import TrialOrchestrator
    from optix_core.search.report import SearchReport, TrialRecord

STORAGE = "sqlite:///optix_runs/studies.db"
EPILOG = f"""\
examples:
  optix tune CartPole-v1 --trials 30 --trial-steps 20000
  optix tune CartPole-v1 algorithm=PPO gamma=0.99 --search learning_rate --search n_epochs=int:3:20
  optix tune CartPole-v1 --study night --storage journal:trials.log      (in as many processes as there are cores)
  optix tune CartPole-v1 --trials 30 --run max_steps=500000
What NAME=VALUE sets, all trials share. Without --search, every range that the agent declares is searched, but for what
is set so. Trials are kept in {STORAGE}; a search that was stopped goes on with --study.

exit status: 0 a winner was found, 1 the search failed, 2 wrong usage or configuration, 130 and 143 stopped by Ctrl-C
and SIGTERM (the study is kept)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Environment, settings, and how to search."""
    add_settings(parser, "id of the environment, and settings that all trials share", "ENV|NAME=VALUE")
    add_config_flags(parser)
    group = parser.add_argument_group("the search")
    group.add_argument("--trials", type=int, default=20, metavar="N", help="trials (20)")
    group.add_argument(
        "--trial-steps",
        type=int,
        default=50_000,
        metavar="N",
        help="environment steps of one training (50000)",
    )
    group.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds per trial (1)")
    group.add_argument(
        "--top-k", type=int, default=3, metavar="K", help="how many of the best are confirmed (3)"
    )
    group.add_argument(
        "--confirm-seeds", type=int, default=5, metavar="N", help="fresh seeds for each of them (5)"
    )
    group.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="NAME[=KIND:LO:HI]",
        help="vary this; kinds: float, log_float, log_complement, int, log_int, categorical:a:b:c",
    )
    group.add_argument("--aggregate", choices=["mean", "iqm"], default="mean", help="over seeds (mean)")
    group.add_argument("--pruner", choices=["median", "wilcoxon", "none"], default="median", help="(median)")
    group.add_argument("--sampler", choices=["tpe", "random"], default="tpe", help="(tpe)")
    group.add_argument("--timeout", type=float, metavar="S", help="begin no trial after so many seconds")
    group.add_argument(
        "--storage", default=STORAGE, metavar="URL", help="where trials are kept; journal:FILE too"
    )
    group.add_argument("--study", metavar="NAME", help="name of the study; one that exists is continued")
    group.add_argument("--out", metavar="FILE", help="where the winner is written; STUDY.toml by default")
    group.add_argument("--run", action="store_true", help="train with the winner, beginning with its weights")
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    """Search."""
    config = config_from(args)
    from optix_core.search.configured import check_out, configured_search, winning_config, write_config
    from optix_core.search.orchestrator import require_optuna

    require_optuna()
    out: Any = sys.stderr if args.json else sys.stdout
    study = args.study or _study_name(config)
    target = Path(args.out or f"{study}.toml")
    check_out(target)

    def tell(record: TrialRecord) -> None:
        print(f"trial    {trial_line(record)}", file=out, flush=True)

    search, config = configured_search(
        config,
        args.search,
        allow_import=args.allow_import,
        n_trials=args.trials,
        trial_steps=args.trial_steps,
        n_seeds=args.seeds,
        top_k=args.top_k,
        confirm_seeds=args.confirm_seeds,
        aggregate=args.aggregate,
        pruner=args.pruner,
        sampler=args.sampler,
        timeout=args.timeout,
        storage=args.storage,
        study_name=study,
        on_trial=tell,
    )
    for line in _opening(config, search, args):
        print(line, file=out, flush=True)
    with search:
        try:
            search.run()
        except (KeyboardInterrupt, SystemExit):
            print(
                f"optix: the study is kept; the same command with --study {shlex.quote(study)} continues it",
                file=sys.stderr,
            )
            raise
        report = search.report
        winner = winning_config(config, report)
        write_config(target, winner, report)
        if not args.json:
            _show(report, target, winner)
        if args.run:
            return _train(winner, search, args, {"tune": {**report.as_data(), "config_file": str(target)}})
    if args.json:
        from optix_core.cli.documents import print_document

        print_document({**report.as_data(), "config_file": str(target)})
    return OK


def trial_line(record: TrialRecord) -> str:
    """One trial in one line."""
    from optix_core.search.report import shown

    score = "" if record.score is None else f" {shown(record.score)}"
    params = ", ".join(f"{name} {shown(value)}" for name, value in record.params.items())
    error = "" if record.error is None else f"  ({record.error.splitlines()[0]})"
    return f"{record.number} {record.state}{score} after {record.steps:,} steps: {params}{error}"


def _study_name(config: TrainConfig) -> str:
    from optix_core.search.study import unique_name

    return unique_name(config.env.replace("/", "-").replace(":", "-"))


def _opening(config: TrainConfig, search: TrialOrchestrator, args: argparse.Namespace) -> list[str]:
    ranges = [f"{name} {' '.join(map(str, form))}" for name, form in (search.param_space or {}).items()]
    seeds = f"{args.seeds} {'seed' if args.seeds == 1 else 'seeds'}"
    return [
        f"env      {config.env}  x {config.n_envs}, seed {config.seed}",
        f"agent    {config.algorithm}",
        f"search   {'; '.join(ranges)}",
        f"budget   {args.trials} trials of {args.trial_steps:,} steps on {seeds}",
        f"study    {search.study_name} in {args.storage}",
    ]


def _show(report: SearchReport, target: Path, config: TrainConfig) -> None:
    from optix_core.cli.output import table
    from optix_core.cli.running import shown_path
    from optix_core.search.configured import repeat_command
    from optix_core.search.report import shown

    sign = 1.0 if report.direction == "maximize" else -1.0
    best_first = sorted(report.trials, key=lambda t: (t.score is None, -sign * (t.score or 0.0), t.number))
    names = list(dict.fromkeys(name for trial in report.trials for name in trial.params))
    rows = [
        [
            str(t.number),
            t.state,
            "" if t.score is None else shown(t.score),
            f"{t.steps:,}",
            *(shown(t.params[name]) if name in t.params else "" for name in names),
        ]
        for t in best_first
    ]
    print(f"\n{table(['trial', 'state', 'score', 'steps', *names], rows)}\n")
    for line in report.lines():
        print(line)
    place = shlex.quote(shown_path(target))
    print(f"config   {shown_path(target)}")
    print(f"next     optix train --config {place}")
    again = repeat_command(target, report, config)
    if again is not None:
        print(f"repeat   {again}")


def _train(
    config: TrainConfig, search: TrialOrchestrator, args: argparse.Namespace, extra: dict[str, Any]
) -> int:
    """The main run, with the winner's weights to begin with."""
    from optix_core.cli.running import execute
    from optix_core.search.warm_start import StartingPoint

    start = StartingPoint.of(search)
    return execute(
        config,
        json=args.json,
        allow_import=args.allow_import,
        prepare=lambda optimizer: optimizer.start_from(start),
        extra=extra,
    )
