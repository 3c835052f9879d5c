"""Runs get names of their own, are described once, and whatever else is found instead is named."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints.filesystem import FileSystem
from optix_core.errors import CheckpointError, IncompatibleCheckpoint
from optix_core.runs import RunDirectory, redact
from optix_core.runs.run_directory import config_digest

CONFIG = {
    "env": "CartPole-v1",
    "algorithm": "PPO",
    "lr": np.float32(0.5),
    "clip": math.inf,
    "wandb": {"api_key": "k3y"},
}


def test_create_and_open(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs", config=CONFIG, seed=3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-CartPole-v1-PPO-seed3", run.path.name)
    found = RunDirectory.open(run.path)
    assert found.info == run.info
    assert found.info.config == {
        "env": "CartPole-v1",
        "algorithm": "PPO",
        "lr": 0.5,
        "clip": math.inf,
        "wandb": {"api_key": "[redacted]"},
    }
    assert found.info.seed == 3
    assert found.info.config_digest == config_digest(CONFIG)
    assert "optix-core" in found.info.versions
    assert sorted(p.name for p in run.path.iterdir()) == ["run.json"]
    assert b"k3y" not in (run.path / "run.json").read_bytes()
    assert str(tmp_path).encode() not in (run.path / "run.json").read_bytes()


def test_names_are_unique_and_plain(tmp_path: Path) -> None:
    names = [RunDirectory.create(tmp_path, config=CONFIG, seed=0).path.name for _ in range(3)]
    assert [n.removeprefix(names[0]) for n in names] == ["", "-2", "-3"]
    odd = RunDirectory.create(tmp_path, env="ALE/Pong v5 ../..", algorithm="my:Agent", seed=1).path
    assert odd.parent == tmp_path
    assert re.fullmatch(r"[\w.+=-]+-ALE-Pong-v5-+[\w.-]*my-Agent-seed1", odd.name)
    assert RunDirectory.create(tmp_path).path.name.count("-") == 2
    named = RunDirectory.create(tmp_path, "mine", config={})
    assert named.info.name == "mine"
    with pytest.raises(CheckpointError) as caught:
        RunDirectory.create(tmp_path, "mine")
    assert caught.value.code == "E-RUN-EXISTS"
    for bad in ("../x", "a/b", "", ".hidden", "x" * 200):
        with pytest.raises(CheckpointError) as caught:
            RunDirectory.create(tmp_path, bad)
        assert caught.value.code == "E-RUN-NAME"


def test_many_processes_at_once_get_directories_of_their_own(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom optix_core.runs import RunDirectory\n"
        "for _ in range(20): print(RunDirectory.create(sys.argv[1], env='E', seed=0).path.name)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    names = [name for p in processes for name in p.communicate()[0].split()]
    assert len(names) == len(set(names)) == 60


def test_run_ids_tell_runs_apart_and_reach_checkpoints(tmp_path: Path, tmp_path_factory: Any) -> None:
    a, b = RunDirectory.create(tmp_path), RunDirectory.create(tmp_path)
    assert a.info.run_id != b.info.run_id
    info = a.registry(2).store.save({"agent": {}}, step=0)
    assert info.manifest.run_id == a.info.run_id
    assert a.log().path == a.path / "events.jsonl"


def test_latest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no runs"):
        RunDirectory.latest(tmp_path)
    runs = [RunDirectory.create(tmp_path, config=CONFIG, seed=0) for _ in range(3)]
    (tmp_path / "zzz").mkdir()
    assert RunDirectory.latest(tmp_path).path == runs[-1].path
    with pytest.raises(CheckpointError) as caught:
        RunDirectory.latest(tmp_path / "nowhere")
    assert caught.value.code == "E-RUN-MISSING"


def test_what_is_not_a_run_is_named(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "cartpole")
    run.registry().store.save({"agent": {}}, step=0)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    old = tmp_path / "old"
    (old / "snapshot_1234").mkdir(parents=True)
    (old / "manifest.json").write_text("[]")
    bare = tmp_path / "bare"
    (bare / "ckpt-000000000000").mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes").write_text("x")
    expected = {
        "file": ("E-RUN-NOT-A-DIRECTORY", "is a file"),
        "cartpol": ("E-RUN-MISSING", f"Did you mean {tmp_path / 'cartpole'}?"),
        "empty": ("E-RUN-EMPTY", "no run was started there"),
        "old": ("E-RUN-FOREIGN", "snapshots of tensor-optix"),
        "bare": ("E-RUN-FOREIGN", "checkpoints but no run.json"),
        "other": ("E-RUN-FOREIGN", "it has no run.json"),
        ".": ("E-RUN-FOREIGN", "There are runs inside it: cartpole"),
        "cartpole/ckpt-000000000000": (
            "E-RUN-FOREIGN",
            "is one checkpoint. The run is the directory around it",
        ),
    }
    for name, (code, text) in expected.items():
        with pytest.raises(CheckpointError) as caught:
            RunDirectory.open(tmp_path / name)
        assert (caught.value.code, text in str(caught.value)) == (code, True), str(caught.value)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path, "r")

    def refuse(*args: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    for method in ("entries", "read"):
        with monkeypatch.context() as patch:
            patch.setattr(FileSystem, method, refuse)
            with pytest.raises(CheckpointError, match="cannot be read: Permission denied") as caught:
                RunDirectory.open(run.path)
            assert caught.value.code == "E-RUN-UNREADABLE"
    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "mkdir", refuse)
        with pytest.raises(CheckpointError, match="Choose a directory that can be written") as caught:
            RunDirectory.create(tmp_path)
        assert caught.value.code == "E-RUN-UNWRITABLE"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format":"optix.run","format_version":1}'])
def test_broken_description(tmp_path: Path, text: str) -> None:
    run = RunDirectory.create(tmp_path, "r")
    (run.path / "run.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        RunDirectory.open(run.path)
    assert caught.value.code == "E-RUN-BROKEN"


def test_a_newer_description(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r")
    document = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**document, "unknown": 1}))
    assert RunDirectory.open(run.path).info == run.info
    (run.path / "run.json").write_text(json.dumps({**document, "format_version": 2}))
    with pytest.raises(IncompatibleCheckpoint, match="pip install --upgrade optix-core"):
        RunDirectory.open(run.path)


def test_redaction() -> None:
    config = {
        "wandb_api_key": "c1",
        "apiKey": "c2",
        "password": 12345,
        "credentials": {"user": "c3", "n": 1},
        "auth_token": "c4",
        "max_tokens": 512,
        "client-secret": ["c5"],
        "url": "https://me:c6@host/path?x=1",
        "list": [{"token": "c7"}, "postgres://u:c8@h/db"],
        "passwd": "c9",
        "learning_rate": 0.1,
        "secret": None,
        "keyboard": "qwerty",
    }
    original = json.dumps(config)
    result = redact(config)
    text = json.dumps(result)
    assert not [c for c in re.findall(r"c\d", original) if c in text]
    assert "12345" not in text
    assert result["max_tokens"] == 512
    assert result["learning_rate"] == 0.1
    assert result["url"] == "https://[redacted]@host/path?x=1"
    assert result["secret"] is None
    assert result["keyboard"] == "qwerty"
    assert json.dumps(config) == original


def test_config_digest_ignores_key_order_and_secrets() -> None:
    assert config_digest({"a": 1, "b": 2.0}) == config_digest({"b": 2.0, "a": 1})
    assert config_digest({"a": 1}) != config_digest({"a": 2})
    assert config_digest({"a": 1, "token": "x"}) == config_digest({"a": 1, "token": "y"})


def test_run_json_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while a run is made leaves no half-written description."""

    class Killed(BaseException):
        pass

    def die(*args: Any) -> Any:
        raise Killed

    for i, method in enumerate(("create", "write", "fsync", "rename")):
        with monkeypatch.context() as patch:
            patch.setattr(FileSystem, method, die)
            with pytest.raises(Killed):
                RunDirectory.create(tmp_path, f"r{i}")
        assert not (tmp_path / f"r{i}" / "run.json").exists()


def test_an_empty_directory_is_taken_over(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / ".tmp-1234").write_text("half")
    assert RunDirectory.create(tmp_path, "made", seed=1).info.seed == 1
    with pytest.raises(CheckpointError, match="exists already"):
        RunDirectory.create(tmp_path, "made")
