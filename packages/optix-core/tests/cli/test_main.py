"""From arguments to a verb, and from its errors to an exit status."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
import warnings

import pytest

from optix_core.cli import flags, main, verbs
from optix_core.errors import (
    AgentResolutionError,
    CheckpointError,
    ConfigError,
    EnvironmentFault,
    HyperparamError,
    PluginBroken,
    PluginNotFound,
    SpaceError,
)
from optix_core.plugins.envs import EnvironmentNotFound
from optix_core.plugins.failures import PluginLoadWarning
from optix_core.plugins.registry import Registry, default_registry, use_registry


@pytest.fixture(autouse=True)
def _own_registry():
    with use_registry(Registry(entry_points=())):
        yield


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """A verb ``probe`` whose ``run`` can be replaced; what it was given is in ``seen``."""
    module = types.ModuleType("probe_cmd")
    module.seen = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--number", type=int, default=0)

    def run(args: argparse.Namespace) -> int:
        module.seen.append(args)
        return module.action()

    module.add_arguments, module.run, module.action = add_arguments, run, lambda: 0
    monkeypatch.setitem(sys.modules, "probe_cmd", module)
    monkeypatch.setattr(
        main, "VERBS", (*verbs.VERBS, verbs.Verb("probe", "for tests", "probe_cmd", json=True))
    )
    return module


def test_arguments_reach_the_verb(verb) -> None:
    assert main.main(["probe", "a", "--number", "3", "env.x=1e-3", "--json"]) == 0
    (args,) = verb.seen
    assert (args.words, args.number, args.json) == (["a", "env.x=1e-3"], 3, True)


@pytest.mark.parametrize(
    "argv", [["--strict", "--no-plugin", "a", "probe", "w"], ["probe", "w", "--no-plugin", "a", "--strict"]]
)
def test_flags_mean_the_same_before_and_after_the_verb(verb, argv: list[str]) -> None:
    assert main.main(argv) == 0
    (args,) = verb.seen
    assert (args.strict, args.no_plugin, args.words) == (True, ["a"], ["w"])
    assert default_registry().switches.strict
    assert default_registry().switches.blocked("a") == "disabled by --no-plugin"


def test_lists_of_flags_are_joined(verb) -> None:
    main.main(["--no-plugin", "a", "-p", "m1", "probe", "--no-plugin=b", "-p", "m2"])
    assert (verb.seen[0].no_plugin, verb.seen[0].modules) == (["a", "b"], ["m1", "m2"])


def test_flags_that_nobody_gave_have_defaults(verb) -> None:
    main.main(["probe"])
    args = verb.seen[0]
    assert (args.plugins, args.no_plugin, args.modules, args.strict) == (None, [], [], None)
    assert (args.trace_plugins, args.traceback, args.json) == (False, False, False)


def test_after_two_dashes_nothing_is_a_flag() -> None:
    found, rest = flags.take_flags(["a", "--strict", "--", "--strict"])
    assert (vars(found), rest) == ({"strict": True}, ["a", "--", "--strict"])


def test_a_verb_is_imported_only_when_chosen() -> None:
    code = (
        "import sys; from optix_core.cli.main import main; main(['--help']); main(['--version']);"
        "print([m for m in sys.modules if m.startswith('optix_core.cli.') and m.endswith('_cmd')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_shows_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    out = capsys.readouterr().out
    for one in verbs.VERBS:
        assert any(line.split()[:1] == [one.name] and one.help in line for line in out.splitlines())


def test_no_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: optix" in captured.err


def test_version_names_core_and_api(capsys: pytest.CaptureFixture[str]) -> None:
    from optix_core import __version__

    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"optix-core {__version__} (plugin API 1.0), Python 3.")


@pytest.mark.parametrize(
    "error, status",
    [
        (ConfigError("x"), 2),
        (HyperparamError("x"), 2),
        (SpaceError("x"), 2),
        (AgentResolutionError("x"), 2),
        (PluginNotFound("x"), 2),
        (EnvironmentNotFound("x"), 2),
        (PluginBroken("x"), 1),
        (CheckpointError("x"), 1),
        (EnvironmentFault("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors_become_one_message_and_a_status(
    verb, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    def fail() -> int:
        raise error

    verb.action = fail
    assert main.main(["probe"]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"optix: {error}\n")
    assert main.main(["probe", "--traceback"]) == status
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_group_of_errors_is_listed(verb, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ExceptionGroup("two failed", [PluginBroken("a"), PluginBroken("b")])

    verb.action = fail
    assert main.main(["probe"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "optix: two failed",
        "  [E-PLUGIN-BROKEN] a",
        "  [E-PLUGIN-BROKEN] b",
    ]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("bug"), ExceptionGroup("mixed", [PluginBroken("a"), ValueError("b")])]
)
def test_what_optix_did_not_foresee_is_not_hidden(verb, error: Exception) -> None:
    def fail() -> int:
        raise error

    verb.action = fail
    with pytest.raises(type(error)):
        main.main(["probe"])


def test_an_interrupt_is_130(verb, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise KeyboardInterrupt

    verb.action = fail
    assert main.main(["probe"]) == 130
    assert capsys.readouterr().err == "optix: interrupted\n"


def test_a_verb_may_end_the_program(verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb.action = lambda: sys.exit(7)
    assert main.main(["probe"]) == 7
    verb.action = lambda: sys.exit("no luck")
    assert main.main(["probe"]) == 1
    assert "no luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["probe", "--nunber", "3"],
        ["probe", "--num", "3"],
        ["probe", "--number", "three"],
        ["--stric", "probe"],
    ],
)
def test_wrong_options_are_wrong_usage(verb, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert main.main(argv) == 2
    assert "error" in capsys.readouterr().err
    assert verb.seen == []


def test_an_unknown_verb_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pluginz"]) == 2
    assert "there is no verb 'pluginz'. Did you mean 'plugins'?" in capsys.readouterr().err


def test_our_warnings_are_one_line_and_others_stay(verb, capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> int:
        warnings.simplefilter("always")
        warnings.warn("mind the gap", PluginLoadWarning, stacklevel=1)
        warnings.warn("other", UserWarning, stacklevel=1)
        return 0

    verb.action = warn
    before = warnings.showwarning
    with pytest.warns(UserWarning, match="other") as seen:
        assert main.main(["probe"]) == 0
    assert [str(w.message) for w in seen] == ["other"]
    assert capsys.readouterr().err == "optix: warning: mind the gap\n"
    assert warnings.showwarning is before


def test_help_survives_a_wrong_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPTIX_STRICT_PLUGINS", "perhaps")
    with use_registry(Registry(entry_points=())):
        assert main.main(["--help"]) == 0
        assert "OPTIX_STRICT_PLUGINS is 'perhaps'" in capsys.readouterr().out
        assert main.main(["plugins", "list"]) == 2


def test_a_module_can_be_loaded_as_a_plugin_and_traced(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_local_plugin.py").write_text("OPTIX_API = '1.0'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main.main(["-p", "my_local_plugin", "--trace-plugins", "plugins", "list"]) == 0
    captured = capsys.readouterr()
    assert any(
        line.split()[:4] == ["my-local-plugin", "-", "1.0", "ok"] for line in captured.out.splitlines()
    )
    assert "my-local-plugin" in captured.err


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "optix_core", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("optix-core ")
