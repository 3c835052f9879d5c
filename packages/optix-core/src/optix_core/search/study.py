"""A study on its storage: opening it, what it must agree on, and its trials as records."""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from optix_core.errors import ConfigError
from optix_core.search.owners import VOID, is_void
from optix_core.search.plan import Direction
from optix_core.search.report import TrialRecord
from optix_core.search.space import SearchSpace

SETTINGS, SCORES, STEPS, ERROR, DIVERGED = (
    "optix:settings",
    "optix:scores",
    "optix:steps",
    "optix:error",
    "optix:diverged",
)
FRESH = "optix:fresh:"
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that count as tried."""


def unique_name(begin: str = "optix") -> str:
    """A study name that nobody has used."""
    return f"{begin}-{time.strftime('%Y%m%d')}-{secrets.token_hex(4)}"


def seed_of(name: str) -> int:
    """A root seed from a study's name, the same in every process that works on it."""
    return zlib.crc32(name.encode()) & 0x7FFF_FFFF


def open_study(
    storage: optuna.storages.BaseStorage, name: str, *, direction: Direction, settings: Mapping[str, Any]
) -> optuna.Study:
    """The study of that name, new or continued.

    Raises:
        ConfigError: It exists and belongs to something else, or was made with other settings.
    """
    plain = json.loads(json.dumps(dict(settings)))
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction=direction,
        load_if_exists=True,
    )
    found = study.user_attrs.get(SETTINGS)
    if found is None:
        if study.get_trials(deepcopy=False):
            raise ConfigError(
                f"the study {name!r} was not made by optix, so its trials cannot be compared with new ones; choose "
                "another study_name"
            )
        study.set_user_attr(SETTINGS, plain)
        return study
    different = sorted(key for key in {*found, *plain} if found.get(key) != plain.get(key))
    if different:
        what = "; ".join(f"{key} was {found.get(key)!r} and is {plain.get(key)!r}" for key in different)
        raise ConfigError(
            f"the study {name!r} was made with other settings ({what}), so its trials cannot be compared with new "
            "ones. Use the same settings to continue it, or another study_name."
        )
    return study


def records_of(study: optuna.Study, space: SearchSpace) -> tuple[TrialRecord, ...]:
    """Every trial of ``study``."""
    void = study.user_attrs
    return tuple(record_of(t, space, void) for t in study.get_trials(deepcopy=False))


def record_of(trial: FrozenTrial, space: SearchSpace, study_attrs: Mapping[str, Any]) -> TrialRecord:
    """One trial as a record."""
    attrs = trial.user_attrs
    names = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "diverged" if DIVERGED in attrs else "pruned",
        TrialState.FAIL: "returned" if is_void(study_attrs, trial.number) else "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    params = space.decoded(trial.params)
    if trial.state is TrialState.WAITING:
        params = space.decoded(trial.system_attrs.get("fixed_params", {}))
    return TrialRecord(
        number=trial.number,
        state=names[trial.state],
        params=params,
        score=trial.value if trial.state in DONE else None,
        seed_scores=tuple(float(s) for s in attrs.get(SCORES, ())),
        steps=int(attrs.get(STEPS, 0)),
        seconds=None if trial.duration is None else trial.duration.total_seconds(),
        error=attrs.get(ERROR) or attrs.get(DIVERGED) or study_attrs.get(f"{VOID}{trial.number}"),
    )


def fresh_steps(study: optuna.Study) -> int:
    """Environment steps of all trainings on fresh seeds."""
    return sum(int(value["steps"]) for key, value in study.user_attrs.items() if key.startswith(FRESH))
