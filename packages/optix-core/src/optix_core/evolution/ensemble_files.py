"""The weights of an ensemble as one folder: a file per member, and what each of them weighs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optix_core.base_agent import BaseAgent
from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint

WEIGHTS = "ensemble.json"


def member_path(folder: Path, index: int) -> Path:
    """Where the weights of one member lie."""
    return folder / f"member-{index}" / "weights"


def save(path: Path, agents: Sequence[BaseAgent], weights: Sequence[float]) -> None:
    """Write the folder ``path``, whole or not at all; an earlier one is replaced."""
    partial, old = path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.old")
    for leftover in (partial, old):
        _remove(leftover)
    partial.mkdir(parents=True)
    for index, agent in enumerate(agents):
        place = member_path(partial, index)
        place.parent.mkdir()
        agent.save_weights(str(place))
    (partial / WEIGHTS).write_text(json.dumps({"weights": list(weights)}), encoding="utf-8")
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _remove(old)


def read_weights(path: Path, members: int) -> list[float]:
    """What the members weigh.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        CorruptCheckpoint: It is not what :func:`save` writes.
        IncompatibleCheckpoint: It holds another number of members.
    """
    raw = (path / WEIGHTS).read_bytes()
    try:
        found: Any = json.loads(raw)
        weights = [float(w) for w in found["weights"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpoint(
            f"{path / WEIGHTS} is not readable ({error}); use another checkpoint"
        ) from error
    if len(weights) != members:
        raise IncompatibleCheckpoint(f"{path} holds {len(weights)} members, and this ensemble has {members}")
    return weights


def load(path: Path, agents: Sequence[BaseAgent]) -> list[float]:
    """Read the folder ``path`` into ``agents``, all or nothing.

    Returns:
        What the members weigh.

    Raises:
        OptixError: As for :func:`read_weights`, or what a member says of its file; nothing is changed then.
    """
    weights = read_weights(path, len(agents))
    with tempfile.TemporaryDirectory(prefix="optix-members-") as scratch, contextlib.ExitStack() as undo:
        for index, agent in enumerate(agents):
            before = member_path(Path(scratch), index)
            before.parent.mkdir()
            agent.save_weights(str(before))
            undo.callback(agent.load_weights, str(before))
            agent.load_weights(str(member_path(path, index)))
        undo.pop_all()
    return weights


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        os.unlink(path)  # noqa: PTH108 (a file of an agent that was saved here before)
