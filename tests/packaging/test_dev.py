"""Does dev.py set up once, completely or not at all, and does it count and report what ran?"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

DEV = Path(__file__).parents[2] / "dev.py"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py as a module whose root is an empty folder."""
    spec = importlib.util.spec_from_file_location("dev_under_test", DEV)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "WORK", tmp_path / ".dev")
    return module


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Two files that an environment is made from."""
    paths = [tmp_path / "constraints.txt", tmp_path / "requirements.txt"]
    for path in paths:
        path.write_text(path.name)
    return paths


class Pip:
    """Stands in for pip: counts its calls, and does or raises what it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self, venv: Path, steps: list[list[str]], holding: int) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def pip(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """Set-ups of ``dev`` install nothing and are counted."""
    fake = Pip()
    monkeypatch.setattr(dev, "install", fake)
    return fake


def test_it_uses_the_standard_library_only_and_parses_on_old_interpreters() -> None:
    tree = ast.parse(DEV.read_text(encoding="utf-8"), feature_version=(3, 7))
    found = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    found |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert "argparse" in found
    assert found <= set(sys.stdlib_module_names)


def test_an_old_python_gets_a_sentence(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.shutil, "which", {"python3.12": "/somewhere/python3.12"}.get)
    with pytest.raises(dev.Failed, match=r"3\.11 or newer and this is 3\.9; run it with python3\.12"):
        dev.refuse_old_python((3, 9))
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    with pytest.raises(dev.Failed, match="install one"):
        dev.refuse_old_python((3, 10))
    dev.refuse_old_python((3, 11))
    dev.refuse_old_python((3, 14))


def test_the_second_set_up_is_skipped(dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path) -> None:
    python = dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    assert subprocess.run([str(python), "-c", ""], check=False).returncode == 0
    dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    assert pip.calls == 1


def test_a_changed_input_or_a_lost_interpreter_sets_up_again(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path
) -> None:
    python = dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    inputs[1].write_text("something else")
    dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    assert pip.calls == 2
    python.unlink()
    dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    assert pip.calls == 3
    assert python.exists()


@pytest.mark.parametrize("error", [RuntimeError("pip failed"), KeyboardInterrupt()])
def test_a_failed_or_interrupted_set_up_leaves_no_stamp(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path, error: BaseException
) -> None:
    venv = tmp_path / ".venv"
    dev.set_up(venv, inputs, [[]], "test")
    inputs[0].write_text("changed")
    pip.error = error
    with pytest.raises(type(error)):
        dev.set_up(venv, inputs, [[]], "test")
    # not even the stamp of the state before: pip may have changed half of it
    assert not (venv / dev.STAMP).exists()
    inputs[0].write_text("constraints.txt")
    pip.error = None
    dev.set_up(venv, inputs, [[]], "test")
    assert pip.calls == 3


@pytest.mark.parametrize("text", ["", "\xff", "another"])
def test_a_damaged_or_foreign_stamp_does_not_count(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path, text: str
) -> None:
    venv = tmp_path / ".venv"
    dev.set_up(venv, inputs, [[]], "test")
    (venv / dev.STAMP).write_text(text, encoding="latin-1")
    dev.set_up(venv, inputs, [[]], "test")
    assert pip.calls == 2


def test_an_environment_of_another_checkout_is_made_anew(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / ".venv").rename(moved / ".venv")
    (moved / ".venv" / "left_behind").touch()
    copies = [moved / path.name for path in inputs]
    for path, copy in zip(inputs, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(dev, "ROOT", moved)
    monkeypatch.setattr(dev, "WORK", moved / ".dev")
    dev.set_up(moved / ".venv", copies, [[]], "test")
    assert pip.calls == 2
    assert not (moved / ".venv" / "left_behind").exists()
    assert str(moved) in (moved / ".venv" / "pyvenv.cfg").read_text()


def test_an_environment_of_another_python_is_made_anew(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path
) -> None:
    venv = tmp_path / ".venv"
    dev.set_up(venv, inputs, [[]], "test")
    settings = (venv / "pyvenv.cfg").read_text()
    (venv / "pyvenv.cfg").write_text(settings.replace("version = 3.", "version = 2."))
    (venv / dev.STAMP).unlink()
    dev.set_up(venv, inputs, [[]], "test")
    assert (venv / "pyvenv.cfg").read_text() == settings


def test_a_folder_that_is_no_environment_is_left_alone(
    dev: ModuleType, pip: Pip, inputs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine").write_text("precious")
    with pytest.raises(dev.Failed, match="in the way"):
        dev.set_up(tmp_path / ".venv", inputs, [[]], "test")
    assert (tmp_path / ".venv" / "mine").read_text() == "precious"
    assert pip.calls == 0


def test_two_set_ups_at_once_install_once(tmp_path: Path, inputs: list[Path]) -> None:
    program = textwrap.dedent(f"""
        import importlib.util, sys, time
        from pathlib import Path
        spec = importlib.util.spec_from_file_location("dev", {str(DEV)!r})
        dev = importlib.util.module_from_spec(spec); spec.loader.exec_module(dev)
        dev.ROOT = Path({str(tmp_path)!r}); dev.WORK = dev.ROOT / ".dev"
        def install(venv, steps, holding):
            with (dev.ROOT / "calls").open("a") as f: f.write("x")
            time.sleep(0.5)
        dev.install = install
        dev.set_up(dev.ROOT / ".venv", [dev.ROOT / "constraints.txt"], [[]], "test")
    """)
    children = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_pips_last_words_are_shown(
    dev: ModuleType, tmp_path: Path, inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "fake_pip.py"
    fake.write_text("import sys\nprint('no such distribution', sys.argv[1:])\nsys.exit(1)\n")
    monkeypatch.setattr(dev, "pip_command", lambda venv: [sys.executable, str(fake)])
    with pytest.raises(
        dev.Failed, match=r"(?s)could not install -r x\.txt.*no such distribution \['install'"
    ):
        dev.set_up(tmp_path / ".venv", inputs, [["-r", "x.txt"]], "test")


def test_a_set_up_that_is_current_installs_nothing(dev: ModuleType, pip: Pip, tmp_path: Path) -> None:
    for name in dev.PACKAGES:
        source = tmp_path / "packages" / f"optix-{name}" / "src" / f"optix_{name}"
        source.mkdir(parents=True)
        (source / "_version.py").write_text("")
        (source.parents[1] / "pyproject.toml").write_text("")
    for name in ("constraints.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "dev.py").write_bytes(DEV.read_bytes())
    dev.main_environment()
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "dev.py"), "setup"], capture_output=True, text=True, check=True
    )
    after = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    assert after == {path: before[path] for path in after}
    assert done.stdout.strip() == str(dev.venv_python(tmp_path / ".venv"))
    assert done.stderr == ""


# --- running tests ----------------------------------------------------------------------------------------------------

OUTCOMES = {
    "good": "def test_a(): pass\ndef test_b(): pass\n",
    "mixed": (
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert False\n"
        "@pytest.fixture\ndef broken(): raise RuntimeError\n"
        "def test_c(broken): pass\n"
        "@pytest.mark.skip(reason='why not')\ndef test_d(): pass\n"
    ),
    "empty": "",
    "uncollectable": "import no_such_module_at_all\n",
    "dying": "import os\ndef test_a(): pass\ndef test_b(): os._exit(3)\n",
}


@pytest.fixture
def suites(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``dev`` with one suite for each of OUTCOMES."""
    for name, text in OUTCOMES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_it.py").write_text(text)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-q'\n")
    monkeypatch.setattr(dev, "SUITES", {name: name for name in OUTCOMES})
    monkeypatch.setattr(dev, "main_environment", lambda: Path(sys.executable))
    return dev


@pytest.mark.parametrize(
    "only,status,total",
    [
        ("good", 0, "2 passed, 0 failed, 0 skipped"),
        ("mixed", 1, "1 passed, 2 failed, 1 skipped"),
        ("good,mixed", 1, "3 passed, 2 failed, 1 skipped"),
        ("empty", 1, "0 passed, 1 failed, 0 skipped"),
        ("uncollectable,good", 1, "2 passed, 1 failed, 0 skipped"),
        ("dying,good", 1, "2 passed, 1 failed, 0 skipped"),
    ],
)
def test_the_total_counts_every_outcome(
    suites: ModuleType, capfd: pytest.CaptureFixture[str], only: str, status: int, total: str
) -> None:
    assert suites.main(["test", "--only", only]) == status
    assert capfd.readouterr().out.splitlines()[-1] == total


def test_arguments_after_two_dashes_go_to_pytest(
    suites: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert suites.main(["test", "--only", "good,mixed", "--", "-k", "test_a"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"
    # a suite in which nothing is selected is no failure, but selecting nothing at all is
    assert suites.main(["test", "--only", "good,mixed", "--", "-k", "test_d or test_c"]) == 1
    assert suites.main(["test", "--only", "good", "--", "-k", "test_z"]) == 1


def test_suites_run_side_by_side_and_their_output_stays_together(
    suites: ModuleType, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each of two suites waits for the other to have begun; what they print is not mixed."""
    meet = (
        "import pathlib, time\n"
        "def test_meet():\n"
        "    pathlib.Path('{own}').touch()\n"
        "    for _ in range(200):\n"
        "        if pathlib.Path('{other}').exists(): break\n"
        "        print('{own} waits', flush=True); time.sleep(0.05)\n"
        "    else: assert False\n"
    )
    for own, other in (("good", "mixed"), ("mixed", "good")):
        text = meet.format(own=tmp_path / f"{own}.began", other=tmp_path / f"{other}.began")
        (tmp_path / own / "test_it.py").write_text(text)
    assert suites.main(["test", "--only", "good,mixed", "--jobs", "2", "--", "-s"]) == 0
    lines = capfd.readouterr().out.splitlines()
    of = [line.split(".began")[0].rsplit("/", 1)[-1] for line in lines if line.endswith("waits")]
    assert len([a for a, b in itertools.pairwise(of) if a != b]) <= 1
    (tmp_path / "good.began").unlink()
    (tmp_path / "mixed.began").unlink()
    assert suites.main(["test", "--only", "good,mixed", "--jobs", "1"]) == 1
    assert suites.main(["test", "--only", "good", "--jobs", "0"]) == 2


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_suites_that_run_and_starts_no_other(
    suites: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    began = tmp_path / "began"
    (tmp_path / "good" / "test_it.py").write_text(
        f"import pathlib, time\ndef test_a():\n    pathlib.Path({str(began)!r}).touch()\n    time.sleep(1.5)\n"
    )

    def strike() -> None:
        while not began.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    striker = threading.Thread(target=strike)
    striker.start()
    code = suites.main(["test", "--only", "good,mixed", "--jobs", "1"])
    striker.join()
    assert code == (130 if number == signal.SIGINT else 2)
    assert not (tmp_path / ".dev" / "tests-mixed.log").exists()
    if number == signal.SIGTERM:
        assert "terminated; not run: mixed" in capfd.readouterr().err
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_an_old_report_is_not_counted(
    suites: ModuleType, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / ".dev").mkdir()
    (tmp_path / ".dev" / "tests-dying.xml").write_text(
        '<testsuites><testsuite tests="9" failures="0" errors="0" skipped="0"/></testsuites>'
    )
    assert suites.main(["test", "--only", "dying"]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_suites_do_not_see_the_persons_own_settings(
    suites: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = "import json, os\ndef test_a(): open({!r}, 'w').write(json.dumps(dict(os.environ)))\n"
    for name in ("core", "good"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "test_it.py").write_text(report.format(str(tmp_path / f"{name}.json")))
    monkeypatch.setattr(suites, "SUITES", {"core": "core", "good": "good"})
    monkeypatch.setenv("OPTIX_PLUGINS", "mine")
    monkeypatch.setenv("OPTIX_PLUGINS_STRICT", "1")
    assert suites.main(["test"]) == 0
    core, good = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("core", "good"))
    assert core["OPTIX_PLUGINS"] == ""
    assert "OPTIX_PLUGINS_STRICT" not in core
    assert [name for name in good if name.startswith("OPTIX_")] == []


# --- arguments and processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv,message",
    [
        (["test", "--only", "core,pytorch"], "no suite is called pytorch; there are core, torch,"),
        (["bench", "nothing"], "no benchmark is called nothing; there are: fast"),
        (["build", "--wheel"], "takes no further arguments"),
        (["setup", "now"], "takes no arguments"),
    ],
)
def test_wrong_arguments_are_named(
    dev: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "bench_fast.py").write_text("")
    assert dev.main(argv) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("argv", [[], ["tset"]])
def test_an_unknown_command_lists_the_known(
    dev: ModuleType, capfd: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        dev.main(argv)
    assert stop.value.code == 2
    assert "usage: dev.py" in capfd.readouterr().err


def test_demo_hands_everything_on_to_optix_train(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(dev, "main_environment", lambda: Path("python"))
    monkeypatch.setattr(dev, "call", lambda command, **_: seen.append(command) or 7)
    assert dev.main(["demo", "--seed", "3", "--max-steps", "9", "gamma=0.9"]) == 7
    tail = ["--seed", "3", "--max-steps", "9", "gamma=0.9"]
    assert seen == [["python", "-m", "optix_core", "train", "CartPole-v1", *tail]]


def test_benchmarks_are_found_by_either_convention_and_get_peers_when_they_ask(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = "import os, sys\nprint(os.environ.get('OPTIX_PEERS_PYTHON'), sys.argv[1:])\nsys.exit(4)\n"
    (tmp_path / "benchmarks" / "ppo").mkdir(parents=True)
    (tmp_path / "benchmarks" / "ppo" / "run.py").write_text("# needs-peers\n" + program)
    (tmp_path / "benchmarks" / "bench_loop.py").write_text("# needs nothing\n" + program)
    monkeypatch.setattr(dev, "main_environment", lambda: Path(sys.executable))
    monkeypatch.setattr(dev, "peers_environment", lambda: Path("peers/python"))
    monkeypatch.setenv("OPTIX_PEERS_PYTHON", "left over")
    assert dev.main(["bench", "ppo", "--quick"]) == 4
    assert capfd.readouterr().out.strip() == "peers/python ['--quick']"
    assert dev.main(["bench", "loop", "--", "--seeds", "3"]) == 4
    assert capfd.readouterr().out.strip() == "None ['--seeds', '3']"


def test_a_benchmark_that_needs_peers_says_what_is_missing(
    dev: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "bench_ppo.py").write_text("# needs-peers\n")
    assert dev.main(["bench", "ppo"]) == 2
    assert "requirements-peers.txt is missing" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_an_interrupt_waits_for_the_child_and_a_signal_is_reported_as_a_shell_does(dev: ModuleType) -> None:
    saves = "import signal, time\ntry: time.sleep(30)\nexcept KeyboardInterrupt: time.sleep(0.3); raise SystemExit(6)"
    command = ["sh", "-c", f"kill -INT {os.getpid()}; sleep 0.3; exit 6"]
    assert dev.call(command, goes_on=False) == 6
    with pytest.raises(KeyboardInterrupt):
        dev.call(command)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert dev.call([sys.executable, "-c", saves], goes_on=False) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_lint_runs_every_step_and_names_those_that_fail(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(dev, "main_environment", lambda: Path("bin/python"))
    monkeypatch.setattr(dev, "call", lambda command: seen.append(command) or int("format" in command))
    assert dev.main(["lint"]) == 1
    assert len(seen) == 3
    assert capfd.readouterr().out == "lint: failed: ruff format\n"
    assert all("--fix" not in command for command in seen)
