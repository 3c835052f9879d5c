"""Bad input: each error says what is wrong, why, and what to do; the exit status says whose fault it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from optix_core.plugins.registry import Registry, use_registry

SMALL = ("window_size=64", "max_steps=256", "validation.episodes=3", "confirm_episodes=0")


@pytest.mark.parametrize(
    "argv, parts",
    [
        (["train"], ["no environment is given", "optix train CartPole-v1"]),
        (["train", "CartPol-v1"], ["no environment 'CartPol-v1'", "Did you mean", "CartPole-v1"]),
        (["train", "CartPole-v1", "algorithm=Clim"], ["no agent named 'Clim'", "Did you mean Climb"]),
        (["train", "Pendulum-v1", "algorithm=Climb"], ["acts in discrete spaces", "Box(1,)", "SAC"]),
        (["train", "CartPole-v1", "algorithm=SAC"], ["acts in box spaces", "Discrete(2)", "Linear"]),
        (["train", "CartPole-v1", "niose=1"], ["no setting 'niose'", "Did you mean 'noise'?"]),
        (
            ["train", "CartPole-v1", "agent.niose=1"],
            ["no option 'niose'", "Did you mean 'noise'?", "command line"],
        ),
        (["train", "CartPole-v1", "noise=-1"], ["noise is -1", "(0, inf)", "command line"]),
        (["train", "CartPole-v1", "noise=loud"], ["noise is 'loud'", "a float in (0, inf)"]),
        (["train", "CartPole-v1", "n_envs=0"], ["n_envs is 0", "at least 1", "command line"]),
        (["train", "CartPole-v1", "seed=-1"], ["seed is -1", "at least 0"]),
        (["train", "CartPole-v1", "optimizer.dleta=1"], ["optimizer.dleta", "Did you mean 'delta'?"]),
        (["train", "CartPole-v1", "delta=7"], ["delta is 7", "below 1", "command line"]),
        (["train", "CartPole-v1", "tuner.name=spasm"], ["spasm", "spsa"]),
        (
            ["train", "CartPole-v1", "pipeline.on_nonfinite=hide"],
            ["pipeline.on_nonfinite is 'hide'", "raise, truncate"],
        ),
        (["train", "CartPole-v1", "tuner.mode=both"], ["tuner.mode is 'both'", "branched, two_probe"]),
        (["train", "CartPole-v1", "tuner.every=0"], ["every is 0", "1 or more"]),
        (["train", "one", "two"], ["one name is expected", "one, two"]),
        (["train", "--config", "missing.toml"], ["there is no configuration file 'missing.toml'"]),
        (["train", "os:CartPole-v1"], ["imports the module 'os'", "--allow-import"]),
        (["resume"], ["which run?", "optix resume RUN"]),
        (["resume", "nowhere"], ["nowhere"]),
        (["resume", "last"], ["optix_runs"]),
        (["eval", "nowhere"], ["nowhere"]),
        (["eval"], ["optix eval RUN"]),
        (["explain", "nowhere"], ["nowhere"]),
        (["config", "show"], ["no environment is given"]),
    ],
)
def test_wrong_usage_is_explained(optix, argv: list[str], parts: list[str]) -> None:
    status, out, err = optix(*argv)
    assert (status, out) == (2, "")
    for part in parts:
        assert part in err
    assert "Traceback" not in err
    assert err.startswith("optix: [E-")


def test_a_malformed_file_is_explained_with_its_place(optix) -> None:
    Path("bad.toml").write_text('env = "CartPole-v1"\n[agent]\nnoise = 1e-3\nnoise = 2\n')
    status, _, err = optix("train", "--config", "bad.toml")
    assert status == 2
    assert "bad.toml, line 4, column 10: this is not valid TOML" in err
    assert "A key may appear only once" in err


def test_without_any_backend_the_command_to_install_one_is_given(optix) -> None:
    with use_registry(Registry(entry_points=())):
        status, _, err = optix("train", "CartPole-v1", plugins=())
    assert status == 2
    assert "E-NO-BACKEND" in err
    assert "pip install" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(optix, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    status, _, err = optix("train", "CartPole-v1", *SMALL, "--run-dir", "shut/run")
    assert status == 2
    assert "shut" in err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root may write")
def test_a_folder_that_nobody_can_write_is_named(optix) -> None:
    status, _, err = optix("train", "CartPole-v1", *SMALL, "--run-dir", "/proc/self/runs/a")
    assert status == 2
    assert "E-RUN-UNWRITABLE" in err
    assert "/proc/self/runs" in err
    assert "Choose a directory that can be written" in err


def test_a_file_in_the_place_of_the_folder_is_named(optix, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = optix("train", "CartPole-v1", *SMALL, "--run-dir", "file/run")
    assert status == 2
    assert "file" in err
    assert "Choose a directory" in err


def test_a_run_is_not_overwritten(optix) -> None:
    assert optix("train", "CartPole-v1", *SMALL, "--run-dir", "r")[0] == 0
    status, _, err = optix("train", "CartPole-v1", *SMALL, "--run-dir", "r")
    assert status == 2
    assert "exists already" in err
    assert "Resume it" in err


@pytest.mark.filterwarnings("ignore:.*The (obs|reward) :UserWarning")
@pytest.mark.parametrize(
    "name, parts",
    [
        ("Raises", ["the simulator fell over", "ZeroDivisionError", "in reward"]),
        ("NanReward", ["reward", "nan"]),
        ("NanObservation", ["observation", "nan"]),
    ],
)
def test_a_faulty_environment_fails_the_run_and_says_where(optix, name: str, parts: list[str]) -> None:
    status, _, err = optix("train", f"faulty_envs:{name}-v0", *SMALL, "--allow-import", "--run-dir", "r")
    assert status == 1
    for part in parts:
        assert part in err.lower() or part in err
    assert "the run so far lies in" in err
    assert "step" in err


def test_a_checkpoint_of_another_architecture_is_refused_and_nothing_is_loaded(optix, tmp_path: Path) -> None:
    assert optix("train", "CartPole-v1", *SMALL, "--run-dir", "a")[0] == 0
    assert optix("train", "Acrobot-v1", *SMALL, "--run-dir", "b")[0] == 0
    for checkpoint in (tmp_path / "b").glob("ckpt-*"):
        shutil.rmtree(checkpoint)
    for checkpoint in (tmp_path / "a").glob("ckpt-*"):
        shutil.copytree(checkpoint, tmp_path / "b" / checkpoint.name)
    status, _, err = optix("eval", "b", "--checkpoint", "latest")
    assert status != 0
    assert "weights" in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_run_says_so(optix, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for verb in ("resume", "eval", "explain"):
        status, _, err = optix(verb, "empty")
        assert status == 2
        assert "empty" in err


def test_a_run_from_python_says_how_to_continue_it(optix, tmp_path: Path) -> None:
    from optix_core.runs.run_directory import RunDirectory

    RunDirectory.create(tmp_path, name="py", config={"env": "x"})
    status, _, err = optix("resume", "py")
    assert status == 2
    assert "started from Python" in err
    assert "resume=True" in err


@pytest.mark.filterwarnings("ignore:.*The (obs|reward) :UserWarning")
def test_the_remedy_that_a_faulty_environment_is_answered_with_exists(optix) -> None:
    status, _, err = optix(
        "train",
        "faulty_envs:SeldomNan-v0",
        *SMALL,
        "--allow-import",
        "pipeline.on_nonfinite=truncate",
        "max_steps=2048",
        "validation.episodes=0",  # an evaluation has no transition to drop
    )
    assert status == 0, err
