"""A population on disk: its members after every generation, and the log of what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from optix_core.checkpoints import CheckpointStore
from optix_core.errors import ConfigError
from optix_core.population.members import Member
from optix_core.runs.decision_log import DecisionLog
from optix_core.seeding import fresh_root_seed
from optix_core.state import State

COMPONENT = "population"
LOG = "events.jsonl"
KEPT = 2


class Record:
    """What one population leaves behind, and continues from.

    Args:
        folder: Where; it is made if it does not exist.
        resume: Continue what is there.

    Raises:
        ConfigError: Something is there and is not to be continued.
    """

    def __init__(self, folder: str | Path, *, resume: bool) -> None:
        self._folder = Path(folder)
        self._store = CheckpointStore(folder, keep=KEPT)
        self._log = DecisionLog(self._folder / LOG)
        newest = self._store.latest()
        if newest is not None and not resume:
            raise ConfigError(
                f"{folder} holds a population already; pass resume=True to continue it, or another folder"
            )
        self._found: State | None = None
        if newest is not None:
            self._found = self._store.load(newest.name).components[COMPONENT]

    def root_seed(self, given: int | None) -> int:
        """That of what is continued; else the one that is given, or a fresh one.

        Raises:
            ConfigError: Another one is given than what is continued has.
        """
        if self._found is None:
            return fresh_root_seed() if given is None else int(given)
        found = int(self._found["seed"])
        if given not in {None, found}:
            raise ConfigError(f"seed is {given}, but the population in {self._folder} has {found}")
        return found

    def held(self) -> AbstractContextManager[Any]:
        """Nobody else may write here meanwhile."""
        return self._store.lock()

    def tell(self, kind: str, generation: int, steps: int, **numbers: Any) -> None:
        """Log what was decided."""
        self._log.write(kind, generation, steps, **numbers)

    def save(
        self,
        seed: int,
        settings: Mapping[str, Any],
        members: Sequence[Member],
        history: Sequence[Mapping[str, Any]],
        steps: int,
    ) -> None:
        """Store everything that the next generation needs.

        Raises:
            CheckpointNotSaved: It could not be written.
        """
        state: State = {
            "seed": seed,
            "settings": dict(settings),
            "steps": steps,
            "log": self._log.last_seq,
            "history": {str(k): dict(entry) for k, entry in enumerate(history)},
            "members": {str(member.number): _packed(member) for member in members},
        }
        self._store.save({COMPONENT: state}, step=steps, window=len(history), reason="generation", finite=())

    def load(
        self, settings: Mapping[str, Any]
    ) -> tuple[tuple[Member, ...], list[dict[str, Any]], int] | None:
        """Members, history and steps of what is continued; None if there is nothing.

        Raises:
            ConfigError: It was made with other settings.
        """
        if self._found is None:
            return None
        found, self._found = self._found, None
        for name, value in settings.items():
            if found["settings"].get(name) != value:
                raise ConfigError(
                    f"the population in {self._folder} was trained with {name}={found['settings'].get(name)!r}, not "
                    f"{value!r}; build the trainer with equal settings"
                )
        self._log.truncate_after(int(found["log"]))
        members = [_unpacked(int(k), packed) for k, packed in found["members"].items()]
        history = [dict(found["history"][k]) for k in sorted(found["history"], key=int)]
        return tuple(sorted(members, key=lambda m: m.number)), history, int(found["steps"])


def _packed(member: Member) -> State:
    return {
        "params": dict(member.params),
        "state": member.state,
        "steps": member.steps,
        "score": member.score,
        "parent": member.parent,
        "schedule": {
            str(k): {"from": at, "params": params} for k, (at, params) in enumerate(member.schedule)
        },
    }


def _unpacked(number: int, packed: Mapping[str, Any]) -> Member:
    schedule = [packed["schedule"][k] for k in sorted(packed["schedule"], key=int)]
    return Member(
        number=number,
        params=dict(packed["params"]),
        state=packed["state"],
        steps=int(packed["steps"]),
        score=packed["score"],
        parent=packed["parent"],
        schedule=tuple((int(entry["from"]), dict(entry["params"])) for entry in schedule),
    )
