"""The command line with a real backend, each command in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPTIX = (sys.executable, "-m", "optix_core", "--plugins", "optix-torch")
SMALL = ("CartPole-v1", "window_size=512", "max_steps=3072", "validation.episodes=4", "confirm_episodes=8")


def environment() -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("OPTIX_")}, "OMP_NUM_THREADS": "1"}


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*OPTIX, *argv],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def optix(folder: Path, *argv: str) -> tuple[int, str, str]:
    process = start(folder, *argv)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of every file of tensors in the last checkpoint."""
    last = max(run.glob("ckpt-*"), key=lambda path: path.name)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in last.glob("*.safetensors")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("torch-run")
    status, out, err = optix(folder, "train", *SMALL, "--seed", "1", "--json", "--run-dir", "r")
    assert status == 0, err
    return folder, json.loads(out)


def test_training_reports_what_it_did(trained: tuple[Path, dict]) -> None:
    folder, document = trained
    assert document["agent"]["plugin"] == "optix-torch"
    assert document["agent"]["spec"] == "PPO"
    assert document["steps"] == 3072
    assert document["confirmation"]["episodes"] == 8
    assert (folder / "r" / "run.json").is_file()


def test_the_stored_policy_is_the_one_that_was_measured(trained: tuple[Path, dict]) -> None:
    folder, _ = trained
    status, out, err = optix(folder, "eval", "r", "--episodes", "20", "--json")
    assert status == 0, err
    assert json.loads(out)["mean"] > 15  # a policy that knows nothing reaches about 9


def test_the_story_and_the_configuration_can_be_read(trained: tuple[Path, dict]) -> None:
    folder, _ = trained
    status, out, err = optix(folder, "explain", "r")
    assert status == 0, err
    assert "end: max_steps" in out
    status, out, err = optix(folder, "config", "show", "r", "--json")
    assert status == 0, err
    assert json.loads(out)["settings"]["algorithm"]["value"] == "optix-torch:PPO"


@pytest.mark.parametrize(
    "argv, parts",
    [
        (("train", "CartPole-v1", "algorithm=SAC"), ("SAC", "PPO")),
        (("train", "CartPole-v1", "algorithm=PP0"), ("no agent named 'PP0'", "Did you mean PPO")),
        (("train", "CartPole-v1", "clip_ratio=7"), ("clip_ratio is 7", "command line")),
        (("train", "CartPole-v1", "learnig_rate=1"), ("Did you mean 'learning_rate'",)),
        (("train", "CartPole-v1", "framework=jax"), ("jax", "torch")),
    ],
)
def test_bad_input_is_explained(tmp_path: Path, argv: tuple[str, ...], parts: tuple[str, ...]) -> None:
    status, out, err = optix(tmp_path, *argv)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    for part in parts:
        assert part in err


def test_help_and_the_configuration_import_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from optix_core.cli.main import main; status = main(sys.argv[1:]); "
        "loaded = {'torch', 'tensorflow', 'jax'} & set(sys.modules); sys.exit(9 if loaded else status)"
    )
    for argv in (
        ("train", "--help"),
        ("config", "show", "CartPole-v1"),
        ("resume", "nowhere"),
        ("explain", "nowhere"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *argv],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode in {0, 2}, (argv, done.stderr)


def killed_until_done(folder: Path, kills: int, took: float, seed: int) -> int:
    """Run ``SMALL`` in ``folder/r``, killing it ``kills`` times at random moments; how often it was really killed."""
    moments, done = random.Random(seed), 0
    process = start(folder, "train", *SMALL, "checkpoint_every=1", "--json", "--run-dir", "r")
    for _ in range(kills):
        time.sleep(moments.uniform(0.1, 1.0) * took)
        if process.poll() is None:
            process.kill()
            done += 1
        process.communicate()
        if (folder / "r" / "run.json").is_file():
            process = start(folder, "resume", "r", "--json")
        else:  # killed before there was a run
            shutil.rmtree(folder / "r", ignore_errors=True)
            process = start(folder, "train", *SMALL, "checkpoint_every=1", "--json", "--run-dir", "r")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, (out, err)
    return done


def uninterrupted(folder: Path) -> float:
    began = time.monotonic()
    status, _, err = optix(folder, "train", *SMALL, "checkpoint_every=1", "--json", "--run-dir", "r")
    assert status == 0, err
    return time.monotonic() - began


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    took = uninterrupted(tmp_path / "whole")
    assert killed_until_done(tmp_path / "killed", 1, took, seed=0) > 0
    assert weights(tmp_path / "killed" / "r") == weights(tmp_path / "whole" / "r")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_at_random_moments(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    took = uninterrupted(tmp_path / "whole")
    expected, kills, round_ = weights(tmp_path / "whole" / "r"), 0, 0
    while kills < 50:
        folder = tmp_path / f"killed{round_}"
        folder.mkdir()
        kills += killed_until_done(folder, 3, took, seed=round_)  # later ones find it finished
        assert weights(folder / "r") == expected
        round_ += 1
