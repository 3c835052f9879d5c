"""Broken on purpose: does every fault stay with its plugin, is it named, and does everything else still work?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HEADER = "from optix_core.plugin import AgentSpec, hookimpl\nOPTIX_API = '1.0'\n"
SPEC = "AgentSpec(name='{name}', factory='x.y:z', framework='numpy', action_spaces=frozenset({{'discrete'}}))"


@dataclass(frozen=True)
class Fault:
    """One way to be broken, and what has to be said about it."""

    code: str
    state: str
    phase: str
    error: str
    more: dict[str, Any] = field(default_factory=dict)


def agents(*specs: str, header: str = HEADER) -> str:
    return f"{header}@hookimpl\ndef optix_agents():\n    return [{', '.join(specs)}]\n"


FAULTS: dict[str, Fault] = {
    "optix-import": Fault(
        "import no_such_package\n",
        "failed",
        "import",
        "ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "optix-exit": Fault("raise SystemExit(3)\n", "failed", "import", "SystemExit: 3"),
    "optix-syntax": Fault("def broken(:\n", "failed", "import", "SyntaxError"),
    "optix-typo": Fault(
        HEADER + "@hookimpl\ndef optix_agent():\n    return []\n",
        "failed",
        "register",
        "unknown hook 'optix_agent'; did you mean 'optix_agents'?",
    ),
    "optix-argument": Fault(
        HEADER + "@hookimpl\ndef optix_agents(config):\n    return []\n", "failed", "validate", "config"
    ),
    "optix-none": Fault(
        HEADER + "@hookimpl\ndef optix_agents():\n    pass\n",
        "failed",
        "register",
        "optix_agents() returned None; return a list",
    ),
    "optix-spec": Fault(
        agents(SPEC.format(name="A").replace("x.y:z", "not a factory")),
        "failed",
        "register",
        "factory is 'not a factory'",
    ),
    "optix-space": Fault(
        agents(SPEC.format(name="A").replace("discrete", "discreet")),
        "failed",
        "register",
        "Did you mean 'discrete'?",
    ),
    "optix-twice": Fault(
        agents(SPEC.format(name="A"), SPEC.format(name="a")),
        "failed",
        "register",
        "two agent specs are called 'a'",
    ),
    "optix-api": Fault(HEADER.replace("1.0", "2.0"), "incompatible", "api", "written for plugin API 2.0"),
    "optix-no-api": Fault("", "failed", "api", "it does not say OPTIX_API"),
    "optix-future": Fault(
        HEADER, "incompatible", "requires", "needs optix-core", {"requires": ("optix-core>=7",)}
    ),
    "optix-past": Fault(
        HEADER, "incompatible", "requires", "needs optix-core<0.0.1", {"requires": ("optix-core<0.0.1",)}
    ),
    "optix-nowhere": Fault(
        HEADER, "failed", "import", "ModuleNotFoundError", {"entry_point": "optix_nowhere.missing"}
    ),
    "optix-wrong-type": Fault(
        HEADER + "@hookimpl\ndef optix_agents():\n    return ['PPO']\n",
        "failed",
        "register",
        "optix_agents()[0] is str; it must be AgentSpec",
    ),
}


@pytest.fixture(scope="module")
def broken(hello, write, tmp_path_factory: pytest.TempPathFactory):
    """The healthy example, and every broken plugin at once."""
    site = tmp_path_factory.mktemp("broken")
    for name, fault in FAULTS.items():
        write(site, name, fault.code, **fault.more)
    return hello.having(site)


@pytest.fixture(scope="module")
def records(broken) -> dict[str, Any]:
    done = broken.optix("plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {p["name"]: p for p in json.loads(done.stdout)["plugins"]}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_phase_and_a_reason(records: dict[str, Any], name: str) -> None:
    fault, found = FAULTS[name], records[name]
    assert (found["state"], found["phase"]) == (fault.state, fault.phase), found["error"]
    assert fault.error in found["error"]
    assert found["specs"] == []


def test_the_healthy_plugin_is_unharmed(records: dict[str, Any]) -> None:
    assert records["optix-hello"]["state"] == "ok"
    assert records["optix-core"]["state"] == "ok"


def test_the_table_names_every_fault(broken) -> None:
    done = broken.optix("plugins", "list")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for name, fault in FAULTS.items():
        (row,) = [line for line in done.stdout.splitlines() if line.split()[0] == name]
        assert fault.state in row
    assert f"2 ok, {len(FAULTS)} not loaded; run: optix plugins doctor" in done.stdout


def test_strict_makes_it_a_failure(broken) -> None:
    assert broken.optix("plugins", "list", "--strict").returncode == 1
    assert broken.optix("plugins", "list", env={"OPTIX_STRICT_PLUGINS": "1"}).returncode == 1
    assert broken.optix("plugins", "list", env={"OPTIX_STRICT_PLUGINS": "0"}).returncode == 0
    done = broken.optix("components", "--strict")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert all(name in done.stderr for name in FAULTS)


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["--version"], 0),
        (["plugins", "list", "--no-import"], 0),
        (["plugins", "list", "--quiet"], 0),
        (["plugins", "info", "optix-hello"], 0),
        (["plugins", "info", "optix-exit"], 0),
        (["components"], 0),
        (["agents", "resolve", "CartPole-v1", "--algorithm", "optix-hello:Hello"], 0),
        (["plugins", "info", "nothing"], 2),
        (["nonsense"], 2),
    ],
)
def test_every_verb_still_works(broken, arguments: list[str], status: int) -> None:
    done = broken.optix(*arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback (most" not in done.stderr


def test_info_shows_the_traceback_of_a_broken_plugin(broken) -> None:
    done = broken.optix("plugins", "info", "optix-import")
    assert "in phase import" in done.stdout
    assert "import no_such_package" in done.stdout


def test_new_still_works(broken, tmp_path: Path) -> None:
    done = broken.optix("plugins", "new", "optix-fresh", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "optix-fresh" / "pyproject.toml").exists()
    again = broken.optix("plugins", "new", "optix-fresh", "--into", str(tmp_path))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_doctor_names_every_fault_and_fails(broken) -> None:
    done = broken.optix("plugins", "doctor", "--json")
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    errors = {f["plugin"]: f["message"] for f in findings if f["status"] == "error"}
    for name, fault in FAULTS.items():
        assert fault.error in errors[name] or name in {"optix-future", "optix-past"}, errors[name]
    assert "optix-hello" not in errors
    assert broken.optix("plugins", "doctor", "optix-hello").returncode == 0


def test_make_agent_works_warns_once_per_fault_and_explains(broken) -> None:
    code = """
import sys, warnings
import gymnasium as gym
from optix_core import make_agent
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    agent = make_agent("optix-hello:Hello", gym.make("CartPole-v1"), seed=0)
    make_agent("optix-hello:Hello", gym.make("CartPole-v1"), seed=0)
print(agent.act(gym.make("CartPole-v1").reset(seed=0)[0]) in (0, 1))
print(len([w for w in seen if "did not load" in str(w.message)]))
try:
    make_agent("optix-typo:PPO", gym.make("CartPole-v1"))
except Exception as error:
    print(type(error).__mro__[-4].__name__, "unknown hook" in str(error), "doctor optix-typo" in str(error))
"""
    done = broken.run("-c", code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True", str(len(FAULTS))]
    assert lines[2].endswith("True True")


# --- what only a process of its own survives -------------------------------------------------------------------------


def findings(environment, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    done = environment.optix("plugins", "doctor", "--json", *arguments)
    assert done.stdout, done.stderr
    return {(f["plugin"], f["status"]): f for f in json.loads(done.stdout)["findings"]}


def test_doctor_survives_crash_hang_and_sudden_end(hello, write, tmp_path: Path) -> None:
    write(tmp_path, "optix-crash", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    write(tmp_path, "optix-hang", "import time\ntime.sleep(600)\n")
    write(tmp_path, "optix-ends", "import os\nos._exit(7)\n")
    found = findings(hello.having(tmp_path), "--timeout", "5")
    assert "killed by signal 11 (SIGSEGV)" in found["optix-crash", "error"]["message"]
    assert "not done after 5 s" in found["optix-hang", "error"]["message"]
    assert "ended the process with status 7" in found["optix-ends", "error"]["message"]
    assert ("optix-hello", "error") not in found
    assert ("optix-hello", "ok") in found


def test_doctor_names_stale_metadata_and_missing_entry_points(hello, write, tmp_path: Path) -> None:
    write(tmp_path / "new", "optix-moved", HEADER)
    write(tmp_path / "old", "optix-moved", HEADER, version="0.0.1")
    write(tmp_path / "new", "optix-silent", HEADER, entry_point="")
    write(tmp_path / "new", "unlike-ours", HEADER, entry_point="")
    found = findings(hello.having(tmp_path / "old", tmp_path / "new"))
    stale = found["optix-moved", "warning"]
    assert [Path(p).parent.name for p in stale["data"]["places"]] == ["old", "new"]
    for name in ("optix-silent", "unlike-ours"):
        assert "registers nothing" in found[name, "warning"]["message"]


def test_doctor_names_heavy_imports_unmet_requirements_and_unknown_switches(
    hello, write, tmp_path: Path
) -> None:
    write(tmp_path, "optix-heavy", "import numpy\n" + HEADER)
    write(tmp_path, "optix-needy", HEADER, requires=("optix-core>=0.1,<1", "no-such-library>=3"))
    environment = hello.having(tmp_path)
    found = findings(environment)
    assert "imports numpy; move that behind the factory string" in found["optix-heavy", "warning"]["message"]
    assert "needs no-such-library>=3, found none" in found["optix-needy", "error"]["message"]
    done = environment.optix("plugins", "doctor", "optix-heavy")
    assert done.returncode == 0
    assert environment.optix("plugins", "doctor", "optix-heavy", "--strict").returncode == 1
    done = environment.optix("plugins", "doctor", env={"OPTIX_DISABLE_PLUGINS": "optix-hallo"})
    assert "Did you mean 'optix-hello'?" in done.stdout


def test_doctor_asks_the_plugin_itself(hello, write, tmp_path: Path) -> None:
    code = HEADER + (
        "from optix_core.plugin import Check\n@hookimpl\ndef optix_doctor(deep):\n"
        "    return [Check(name='gpu', status='warning', message=f'none (deep {deep})')]\n"
    )
    write(tmp_path, "optix-own", code)
    write(
        tmp_path,
        "optix-sick",
        HEADER + "@hookimpl\ndef optix_doctor():\n    raise RuntimeError('no pulse')\n",
    )
    found = findings(hello.having(tmp_path))
    assert (found["optix-own", "warning"]["check"], found["optix-own", "warning"]["message"]) == (
        "gpu",
        "none (deep False)",
    )
    assert "RuntimeError: no pulse" in found["optix-sick", "error"]["message"]


def test_a_plugin_that_prints_does_not_spoil_the_answer(hello, write, tmp_path: Path) -> None:
    write(tmp_path, "optix-chatty", "print('{]')\n" + HEADER)
    assert findings(hello.having(tmp_path), "optix-chatty")["optix-chatty", "ok"]["check"] == "import"


# --- verbs of plugins ------------------------------------------------------------------------------------------------


def test_a_plugin_can_add_a_verb(hello, write, tmp_path: Path) -> None:
    code = (
        "from optix_core.plugin import CommandSpec, hookimpl\nOPTIX_API = '1.0'\n@hookimpl\ndef optix_commands():\n"
        "    return [CommandSpec(name='greet', help='say hello', factory='optix_verb.greet:run')]\n"
    )
    greet = "def run(argv):\n    print('hello', *argv)\n    return len(argv)\n"
    write(tmp_path, "optix-verb", code, modules={"greet": greet})
    environment = hello.having(tmp_path)
    script = "import sys; from optix_core.cli.main import main; main(['--help']); print('optix_verb.greet' in sys.modules)"  # noqa: E501
    lines = environment.run("-c", script).stdout.splitlines()
    assert any(line.split() == ["greet", "say", "hello", "(optix-verb)"] for line in lines)
    assert lines[-1] == "False"
    done = environment.optix("greet", "big", "--world")
    assert (done.returncode, done.stdout) == (2, "hello big --world\n")
    assert "Did you mean 'greet'?" in environment.optix("greeet").stderr


def test_a_reader_that_goes_away_is_no_error(broken) -> None:
    with subprocess.Popen(
        [str(broken.python), "-m", "optix_core", "plugins", "list", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **broken.extra},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert error == ""
