"""Do the tables in docs/ say what the code says? They are generated from it: run this file to write them anew.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from optix_core import errors
from optix_core.cli.verbs import VERBS
from optix_core.config.load import ENV_VARS
from optix_core.config.schema import TOP
from optix_core.loop.config import LoopConfig
from optix_core.rl_optimizer import RLOptimizer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TABLE = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end of table -->", re.DOTALL)
CODE = re.compile(r"E-[A-Z0-9-]*[A-Z0-9]")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [head, ("---",) * len(head), *rows]
    return "".join(
        "| " + " | ".join(c.replace("|", "\\|").replace("``", "`") for c in row) + " |\n" for row in cells
    )


def described(cls: type) -> dict[str, str]:
    """The sentence of every documented field of a dataclass, from the class's docstring."""
    text = inspect.getdoc(cls) or ""
    entry = r"^ +(\w+): (.*?)(?=^ +\w+: |^\w|^\s*$|\Z)"
    return {name: " ".join(said.split()) for name, said in re.findall(entry, text, re.MULTILINE | re.DOTALL)}


def loop_parameters() -> str:
    said = described(LoopConfig)
    offered = inspect.signature(RLOptimizer.__init__).parameters
    rows = [
        (f"`{f.name}`" + ("" if f.name in offered else " *"), f"`{f.default}`", said[f.name])
        for f in dataclasses.fields(LoopConfig)
    ]
    return table(("parameter", "default", "meaning"), rows)


def settings() -> str:
    kinds = {
        "table": "table",
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
    }
    rows = []
    for name, item in TOP.items():
        allowed = " or ".join(kinds.get(kind, kind) for kind in item.kinds)
        default = (
            ""
            if item.default is None and "none" not in item.kinds
            else f"`{item.default}`".replace("None", "none")
        )
        rows.append((f"`{name}`", allowed, default, item.help))
    return table(("setting", "what", "default", "meaning"), rows)


def verbs() -> str:
    return table(("verb", "what it does"), ((f"`optix {verb.name}`", verb.help) for verb in VERBS))


def used_codes() -> set[str]:
    """Every error code that occurs as a string in the sources."""
    strings: set[str] = set()
    for path in ROOT.glob("packages/*/src/**/*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings |= {
            n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
    return {text for text in strings if CODE.fullmatch(text)}


def error_classes() -> Iterator[type[errors.OptixError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.OptixError):
            yield value


def error_table() -> str:
    rows = []
    for cls in error_classes():
        first = (inspect.getdoc(cls) or "").split("\n\n")[0]
        rows.append((f"`{cls.default_code}`", f"`{cls.__name__}`", " ".join(first.split())))
    return table(("code", "class", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "loop_parameters": loop_parameters,
    "errors": error_table,
    "settings": settings,
    "verbs": verbs,
}


def with_tables(text: str) -> str:
    return TABLE.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}<!-- end of table -->", text)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_tables_are_what_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, f"write it anew: python {Path(__file__).relative_to(ROOT)}"


def test_every_table_stands_somewhere() -> None:
    used = [m[1] for page in DOCS.glob("*.md") for m in TABLE.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(used) == sorted(TABLES)


def test_every_error_code_is_explained_and_every_explained_one_exists() -> None:
    explained = set(CODE.findall((DOCS / "errors.md").read_text(encoding="utf-8")))
    assert used_codes() - explained == set(), "not explained"
    assert explained - used_codes() == set(), "explained, but never raised"


def test_every_environment_variable_that_sets_something_is_named() -> None:
    named = set(re.findall(r"`(OPTIX_\w+)`", (DOCS / "configuration.md").read_text(encoding="utf-8")))
    assert named >= set(ENV_VARS)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        if (new := with_tables(old)) != old:
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
