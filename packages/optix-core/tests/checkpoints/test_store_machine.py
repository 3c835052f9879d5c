"""Random histories of saves, restarts, moves, damage and full disks, against a model that is a list."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from optix_core.checkpoints import CheckpointStore
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.errors import CheckpointNotSaved, CorruptCheckpoint
from optix_core.state import SealedArray

KEEP = 3


@dataclass
class Saved:
    name: str
    score: float | None
    pinned: bool
    ring: tuple[str, ...]
    damaged: bool = False


class FullDisk(FileSystem):
    """Refuses to create anything once ``left`` files have been made."""

    def __init__(self, left: int) -> None:
        self.left = left

    def create(self, path: Path) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return super().create(path)


def expected_after(saved: list[Saved]) -> list[Saved]:
    """The rule of retention in other words: drop one at a time until it fits."""
    saved = list(saved)
    while sum(not s.pinned for s in saved) > KEEP:
        scored = [s for s in saved if s.score is not None]
        best = max(scored, key=lambda s: (s.score, -saved.index(s)), default=None)
        safe = [s for s in (best, saved[-1]) if s is not None]
        free = [s for s in saved if not s.pinned and s not in safe]
        if not free:
            break
        last_choice = [s for s in free if s is saved[-2]]
        ordinary = [s for s in free if s not in last_choice]
        worthless = [s for s in ordinary if s.score is None]
        saved.remove((worthless or ordinary or last_choice)[0])
    return saved


def ring(step: int) -> list[SealedArray]:
    """Three segments, one of which the next step replaces."""
    return [SealedArray(np.full(4, step - (step - i) % 3, np.int32)) for i in range(3)]


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.scratch = Path(tempfile.mkdtemp(dir=base, prefix="optix-machine-"))
        self.place = self.scratch / "run0"
        self.moves = 0
        self.step = 0
        self.model: list[Saved] = []
        self.spoiled: set[str] = set()
        self.touched = 0
        self.open()

    def open(self, fs: FileSystem | None = None) -> None:
        self.store = CheckpointStore(self.place, fs=fs, keep=KEEP, report=lambda text: None)

    def teardown(self) -> None:
        shutil.rmtree(self.scratch)

    @rule(
        score=st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, 1.0, 2.0, 3.0]),
        pinned=st.integers(0, 5),
    )
    def save(self, score: float | None, pinned: int) -> None:
        self.step += 1
        info = self.store.save(
            {"agent": {"step": self.step, "replay": ring(self.step)}},
            step=self.step,
            score=score,
            keep_always=pinned == 0,
        )
        finite = score if score is not None and math.isfinite(score) else None
        names = tuple(segment.digest for segment in ring(self.step))
        self.spoiled -= set(names)  # a save makes good what it needs
        self.model = expected_after([*self.model, Saved(info.name, finite, pinned == 0, names)])

    @rule(left=st.integers(0, 1))
    def save_on_a_full_disk(self, left: int) -> None:
        self.open(FullDisk(left))
        with pytest.raises(CheckpointNotSaved):
            self.store.save({"agent": {"step": -1, "replay": [ring(-1)[0]]}}, step=self.step + 1, score=99.0)
        self.open()

    @rule()
    def restart(self) -> None:
        self.open()

    @rule()
    def move(self) -> None:
        self.moves += 1
        target = self.scratch / f"run{self.moves}"
        self.place.rename(target)
        self.place = target
        self.open()

    @rule()
    def leave_garbage(self) -> None:
        (self.place / ".tmp-dead").mkdir(exist_ok=True)
        (self.place / ".tmp-dead" / "manifest.json").write_text("{")
        self.open()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def damage_data(self, data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from(self.model))
        file = self.place / victim.name / "state.json"
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        if not victim.damaged:
            file.write_bytes(content)
            victim.damaged = True

    @precondition(lambda self: self.model)
    @rule(data=st.data(), lose=st.booleans())
    def spoil_a_segment(self, data: st.DataObject, lose: bool) -> None:
        digest = data.draw(st.sampled_from(sorted({d for saved in self.model for d in saved.ring})))
        if digest in self.spoiled:
            return
        file = self.place / "segments" / f"{digest}.safetensors"
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        self.touched += 1
        os.utime(
            file, ns=(self.touched, self.touched)
        )  # two changes within one tick of the clock differ, too
        if lose:
            file.unlink()
        self.spoiled.add(digest)

    @rule()
    def collect(self) -> None:
        self.store.gc()
        named = {digest for saved in self.model for digest in saved.ring}
        segments = self.place / "segments"
        held = {p.name for p in segments.iterdir()} if segments.is_dir() else set[str]()
        assert held <= {f"{digest}.safetensors" for digest in named}

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def lose_a_manifest(self, data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from(self.model))
        (self.place / victim.name / "manifest.json").unlink()
        self.model.remove(victim)

    @rule()
    def a_second_writer_is_refused(self) -> None:
        other = CheckpointStore(self.place)
        with self.store.lock():
            from optix_core.errors import CheckpointLocked

            with pytest.raises(CheckpointLocked):
                other.save({"agent": {}}, step=0)

    @invariant()
    def listing_agrees(self) -> None:
        assert [i.name for i in self.store.list()] == [s.name for s in self.model]

    @rule()
    def verification_agrees(self) -> None:
        expected = {s.name: self.intact(s) for s in self.model}
        found = {name: error is None for name, error in self.store.verify().items() if name in expected}
        assert found == expected

    def intact(self, saved: Saved) -> bool:
        return not saved.damaged and not self.spoiled & set(saved.ring)

    @invariant()
    def latest_and_best_agree(self) -> None:
        intact = [s for s in self.model if self.intact(s)]
        scored = [s for s in self.model if s.score is not None]
        good = [s for s in scored if self.intact(s)]
        broken_directories = len([p for p in self.place.iterdir() if p.name.startswith("ckpt-")]) > len(
            self.model
        )
        self._agree(self.store.latest, intact[-1] if intact else None, bool(self.model) or broken_directories)
        best = max(good, key=lambda s: (s.score, -self.model.index(s)), default=None)
        self._agree(self.store.best, best, bool(scored) or (broken_directories and not self.model))

    def _agree(self, ask: Any, expected: Saved | None, some: bool) -> None:
        if expected is None and some:
            with pytest.raises(CorruptCheckpoint):
                ask()
            return
        found = ask()
        assert (found and found.name) == (expected and expected.name)


StoreMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreMachine = StoreMachine.TestCase
