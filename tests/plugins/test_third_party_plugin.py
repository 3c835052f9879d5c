"""Does a plugin that optix knows nothing about stand beside our own: installed, found, used, checked, switched off?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from optix_core.plugins import scaffold

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "plugins" / "optix-hello"


def listed(done) -> dict[str, dict]:
    assert done.returncode == 0, done.stderr
    return {p["name"]: p for p in json.loads(done.stdout)["plugins"]}


def test_the_example_is_what_plugins_new_writes() -> None:
    written = {p.relative_to(HELLO).as_posix(): p.read_text(encoding="utf-8") for p in HELLO.rglob("*")
               if p.is_file() and "__pycache__" not in p.parts and ".pytest_cache" not in p.parts}  # fmt: skip
    expected = scaffold.render("optix-hello")
    assert written == expected, "regenerate it: optix plugins new optix-hello --into examples/plugins"


def test_core_alone_has_no_plugins_but_itself(core_only) -> None:
    assert list(listed(core_only.optix("plugins", "list", "--json"))) == ["optix-core"]


def test_it_is_discovered_from_its_wheel(hello) -> None:
    found = listed(hello.optix("plugins", "list", "--json"))
    assert list(found) == ["optix-core", "optix-hello"]
    assert (found["optix-hello"]["state"], found["optix-hello"]["provides"]) == ("ok", {"agent": ["Hello"]})
    assert found["optix-hello"]["api"] == "1.0"
    table = hello.optix("plugins", "list").stdout.splitlines()
    assert table[0].split() == ["PLUGIN", "VERSION", "API", "STATE", "PROVIDES", "IMPORT", "NOTE"]
    assert any(line.split()[:5] == ["optix-hello", "0.1.0", "1.0", "ok", "1"] for line in table)


def test_listing_without_import_imports_nothing_of_it(hello) -> None:
    arguments = ["plugins", "list", "--no-import"]
    code = f"import sys; from optix_core.cli.main import main; main({arguments!r}); print('optix_hello' in sys.modules)"
    done = hello.run("-c", code)
    assert "found" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_it_is_used_through_make_agent_and_learns(hello) -> None:
    code = """
import gymnasium as gym
from optix_core import make_agent
agent = make_agent("optix-hello:Hello", gym.make("CartPole-v1"), seed=0, gamma=0.98)
print(type(agent).__module__, agent.get_hyperparams().params["gamma"], agent.optix_spec_info["plugin"])
from optix_core.testing import TinyDiscrete
from optix_core.testing.windows import collect, feed
env = TinyDiscrete()
agent = make_agent("Hello", env, seed=0)
returns = []
for window in range(40):
    data = collect(agent, env, 128, seed=window)
    returns.append(sum(e.episode_return for e in data.episodes) / len(data.episodes))
    feed(agent, data)
print(returns[0] < 6.0 < 7.0 < returns[-1])
"""
    done = hello.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["optix_hello.agent 0.98 optix-hello", "True"]


def test_its_own_tests_pass_where_it_is_installed(hello, tmp_path: Path) -> None:
    copy = tmp_path / "optix-hello"
    shutil.copytree(HELLO, copy, ignore=shutil.ignore_patterns("src", "__pycache__"))
    done = hello.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_doctor_finds_nothing_wrong_with_it(hello) -> None:
    done = hello.optix("plugins", "doctor", "optix-hello", "--strict", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "conformance of Hello" in done.stdout
    assert "0 errors, 0 warnings" in done.stdout


def test_info_shows_its_hyperparameters(hello) -> None:
    done = hello.optix("plugins", "info", "optix-hello:hello")
    assert done.returncode == 0
    assert "learning_rate" in done.stdout
    assert "(0, 2]" in done.stdout
    unknown = hello.optix("plugins", "info", "optix-hallo")
    assert (unknown.returncode, "Did you mean 'optix-hello'?" in unknown.stderr) == (2, True)


@pytest.mark.parametrize(
    "flags, env, why",
    [
        (["--no-plugin", "optix-hello"], {}, "disabled by --no-plugin"),
        (["--plugins", ""], {}, "not named in --plugins"),
        (["--plugins", "optix-torch"], {}, "not named in --plugins"),
        (["-p", "no:optix_hello"], {}, "disabled by --no-plugin"),
        ([], {"OPTIX_DISABLE_PLUGINS": "optix_hello"}, "disabled by OPTIX_DISABLE_PLUGINS"),
        ([], {"OPTIX_PLUGINS": ""}, "not named in OPTIX_PLUGINS"),
        ([], {"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "1"}, "OPTIX_DISABLE_PLUGIN_AUTOLOAD"),
    ],
)
def test_it_can_be_switched_off_before_it_is_imported(
    hello, flags: list[str], env: dict[str, str], why: str
) -> None:
    arguments = [*flags, "plugins", "list", "--json"]
    code = f"import sys; from optix_core.cli.main import main; main({arguments!r}); print('optix_hello' in sys.modules)"
    done = hello.run("-c", code, env=env)
    document, _, imported = done.stdout.rstrip().rpartition("\n")
    (found,) = [p for p in json.loads(document)["plugins"] if p["name"] == "optix-hello"]
    assert (found["state"], imported) == ("disabled", "False")
    assert why in found["error"]
    again = hello.optix(
        *flags, "agents", "resolve", "CartPole-v1", "--algorithm", "optix-hello:Hello", env=env
    )
    assert again.returncode == 2
    assert "optix-hello" in again.stderr
    assert "Traceback" not in again.stderr


def test_the_command_line_beats_the_environment(hello) -> None:
    found = listed(
        hello.optix(
            "--plugins",
            "optix-hello",
            "plugins",
            "list",
            "--json",
            env={"OPTIX_DISABLE_PLUGINS": "optix-hello"},
        )
    )
    assert found["optix-hello"]["state"] == "ok"


def test_quiet_prints_what_can_be_installed_again(hello) -> None:
    assert hello.optix("plugins", "list", "--quiet").stdout.split() == ["optix-core", "optix-hello"]


def test_components_and_resolution_name_it(hello) -> None:
    assert (
        "Hello" in hello.optix("components", "agents", "--space", "discrete", "--framework", "numpy").stdout
    )
    assert "Hello" not in hello.optix("components", "agents", "--space", "box").stdout
    done = hello.optix("agents", "resolve", "CartPole-v1", "--algorithm", "Hello", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agent"] == "optix-hello:Hello"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, framework", [("agent", "torch"), ("tuner", "numpy"), ("callback", "numpy"), ("pipeline", "numpy")]
)
def test_every_template_installs_and_passes_its_tests_and_the_doctor(
    fresh, tmp_path: Path, kind: str, framework: str
) -> None:
    folder = scaffold.create(tmp_path, f"optix-made-{kind}", kind=kind, framework=framework)
    made = fresh(folder)
    shutil.rmtree(folder / "src")
    tests = made.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert tests.returncode == 0, tests.stdout
    doctor = made.optix("plugins", "doctor", folder.name, "--strict", "--deep")
    assert doctor.returncode == 0, doctor.stdout
