"""Who works on which trial of a shared study, and what becomes of the trials of those who died.

Every trial carries the name of the process that trains it. A process that finds a trial in the state RUNNING whose
owner is dead fails it and puts its parameters in the queue again. Death is certain on the same machine (the process is
gone); of another machine it is assumed after a long silence.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

OWNER, BEAT, RETRY_OF = "optix:owner", "optix:beat", "optix:retry_of"
WORKER = "optix:worker:"
VOID = "optix:void:"
BEAT_SECONDS = 30.0
PROC = Path("/proc/self/stat")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process.

    Attributes:
        machine: Host, start of the system and process namespace: inside it, process ids are unambiguous.
        pid: Its id.
        started: When it started, in the system's own clock; tells it from a later process with the same id.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(machine=machine(), pid=pid, started=started(pid) or "")

    @classmethod
    def read(cls, data: Any) -> Owner | None:
        """From :meth:`data`; None if it is something else."""
        if not isinstance(data, Mapping):
            return None
        fields: dict[str, Any] = dict(data)  # pyright: ignore[reportUnknownArgumentType]
        try:
            return cls(machine=str(fields["machine"]), pid=int(fields["pid"]), started=str(fields["started"]))
        except (KeyError, TypeError, ValueError):
            return None

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {"machine": self.machine, "pid": self.pid, "started": self.started}

    @property
    def key(self) -> str:
        """A short name, unique among processes."""
        return f"{self.machine}/{self.pid}/{self.started}"

    def is_dead(self) -> bool | None:
        """Whether the process is gone; None if that cannot be seen from here."""
        if self.machine != machine():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it exists and belongs to somebody else
        now = started(self.pid)
        if now is None:
            return PROC.exists()  # where the system tells starting times: it ended, and nobody has asked how
        return bool(self.started) and now != self.started


@functools.cache
def machine() -> str:
    """This machine, as far as process ids mean the same."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    if boot.is_file():
        parts.append(boot.read_text(encoding="ascii").strip()[:8])
    if namespace.exists():
        parts.append(str(namespace.stat().st_ino))
    return ":".join(parts)


def started(pid: int) -> str | None:
    """When process ``pid`` started, as the system counts; None where it does not tell, or for a process that ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # behind the name, which may hold anything
    return None if fields[0] in {"Z", "X"} else fields[19]


def is_void(attributes: Mapping[str, Any], number: int) -> bool:
    """Whether trial ``number`` was given back: neither a result nor a failure of the search."""
    return f"{VOID}{number}" in attributes


def give_back(study: optuna.Study, trial: FrozenTrial, why: str, *, size: int) -> bool:
    """Fail a running trial that will not be finished, and queue its parameters for whoever comes next.

    Args:
        study: Its study.
        trial: As last seen.
        why: ``"stale"``, ``"interrupted"`` or ``"surplus"``.
        size: How many parameters a whole trial has. One that died before it had all of them is not queued: the next
            trial takes its place and draws the same.

    Returns:
        Whether it was done; False if another process was faster.
    """
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    study.set_user_attr(f"{VOID}{trial.number}", why)
    if len(trial.params) == size:
        study.enqueue_trial(dict(trial.params), user_attrs={RETRY_OF: trial.number})
    return True


def reclaim(study: optuna.Study, me: Owner, stale_after: float, *, size: int) -> list[int]:
    """Give back the trials of dead processes; returns their numbers. ``size`` is as for :func:`give_back`."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [
        trial.number
        for trial in running
        if _abandoned(study, trial, me, stale_after) and give_back(study, trial, "stale", size=size)
    ]


def register(study: optuna.Study, me: Owner, seat: str | None = None) -> None:
    """Note that this process works on ``study``.

    Args:
        study: The study.
        me: This process.
        seat: A place that one process has at a time: whoever had it before is dead, on whatever machine.
    """
    if seat is not None:
        dismiss(study, [seat], me)
    study.set_user_attr(WORKER + me.key, me.data() | {"seat": seat})


def dismiss(study: optuna.Study, seats: Collection[str], me: Owner) -> None:
    """Note that whoever else had one of these seats is dead."""
    for key, value in study.user_attrs.items():
        if key.startswith(WORKER) and key != WORKER + me.key and value.get("seat") in seats:
            study.set_user_attr(key, {**value, "dead": True})


def claim(trial: optuna.Trial, me: Owner) -> None:
    """Write the owner's name on a trial."""
    trial.set_user_attr(OWNER, me.data())


def beat(trial: optuna.Trial) -> None:
    """Tell other machines that this trial's owner is alive."""
    trial.set_user_attr(BEAT, time.time())


def _abandoned(study: optuna.Study, trial: FrozenTrial, me: Owner, stale_after: float) -> bool:
    owner, known = Owner.read(trial.user_attrs.get(OWNER)), study.user_attrs
    if owner is None:
        # killed between making the trial and signing it: certain if nobody else is left who might sign it
        others = [
            _is_dead(other, known) if (other := Owner.read(v)) is not None else None
            for k, v in known.items()
            if k.startswith(WORKER) and k != WORKER + me.key
        ]
        if all(others):
            return True
    else:
        dead = _is_dead(owner, known)
        if dead is not None:
            return dead
    begun = 0.0 if trial.datetime_start is None else trial.datetime_start.timestamp()
    last = float(trial.user_attrs.get(BEAT, begun))
    return time.time() - last > stale_after


def _is_dead(owner: Owner, study_attrs: Mapping[str, Any]) -> bool | None:
    """As somebody has noted, or as can be seen from here; None if neither."""
    return True if study_attrs.get(WORKER + owner.key, {}).get("dead") else owner.is_dead()
