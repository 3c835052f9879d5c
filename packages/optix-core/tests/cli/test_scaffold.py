"""What ``optix plugins new`` writes, and what it refuses to write."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from optix_core.errors import ConfigError
from optix_core.plugins import scaffold

KINDS = [
    ("agent", "numpy"),
    ("agent", "torch"),
    ("tuner", "numpy"),
    ("callback", "numpy"),
    ("pipeline", "numpy"),
    ("mutator", "numpy"),
]


@pytest.mark.parametrize("kind, framework", KINDS)
def test_every_file_is_complete_and_parses(kind: str, framework: str) -> None:
    files = scaffold.render("Optix.My_Thing", kind=kind, framework=framework)
    assert {"pyproject.toml", "README.md", ".github/workflows/tests.yml", "tests/test_conformance.py",
            "src/optix_my_thing/py.typed", "src/optix_my_thing/plugin.py",
            f"src/optix_my_thing/{kind}.py"} <= set(files)  # fmt: skip
    for path, text in files.items():
        assert "${" not in text.replace("${{ matrix", ""), path
        if path.endswith(".py"):
            ast.parse(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "optix-my-thing"
    assert project["entry-points"] == {"optix_core.plugins": {"optix-my-thing": "optix_my_thing.plugin"}}
    (core,) = [d for d in project["dependencies"] if d.startswith("optix-core")]
    assert core.endswith(",<1")
    assert any(d.startswith("torch") for d in project["dependencies"]) == (framework == "torch")


@pytest.mark.parametrize("kind, framework", KINDS)
def test_the_plugin_module_imports_only_what_is_light(kind: str, framework: str) -> None:
    tree = ast.parse(scaffold.render("optix-x", kind=kind, framework=framework)["src/optix_x/plugin.py"])
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert set(modules) == {"__future__", "optix_core.plugin"}
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import)]


@pytest.mark.parametrize(
    "name", ["", "-x", "9lives", "a b", "optix-core", "Optix_Torch", "optix", "../up", "class"]
)
def test_names_that_cannot_be_used_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="E-USAGE"):
        scaffold.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "optix-x").mkdir()
    scaffold.create(tmp_path, "optix-x")
    with pytest.raises(ConfigError, match="exists already"):
        scaffold.create(tmp_path, "optix-x", kind="tuner")
    (tmp_path / "optix-y").write_text("a file")
    with pytest.raises(ConfigError, match="exists already"):
        scaffold.create(tmp_path, "optix-y")


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        scaffold.create(tmp_path / "file", "optix-x")


def test_choices_without_a_template_are_refused() -> None:
    with pytest.raises(ConfigError, match="--framework is about agents"):
        scaffold.render("optix-x", kind="tuner", framework="torch")
    with pytest.raises(ConfigError, match="kinds are"):
        scaffold.render("optix-x", kind="loss")


def test_templates_are_read_as_package_data() -> None:
    from importlib.resources import files

    assert len(list((files("optix_core.plugins") / "templates" / "common").iterdir())) == 5
