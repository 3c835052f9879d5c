"""Rules about the code itself: a blind loop, no unpickling, no global randomness, modules that fit a head."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "packages").glob("*/src/**/*.py"))
LOOP = sorted((ROOT / "packages/optix-core/src/optix_core/loop").glob("*.py"))
LONGEST = 450
"""Lines; a module above 300 needs a reason, above this a second room."""

ALGORITHM_WORDS = re.compile(
    r"\b(ppo|dqn|sac|td3|a2c|reinforce|gae|epsilon|gamma|learning_rate|clip_ratio|entropy_coef|torch|tensorflow|keras|jax|flax)\b",
    re.IGNORECASE,
)
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.manual_seed",
    "torch.set_num_threads",
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
}
GENERATORS = {"Generator", "SeedSequence", "PCG64", "BitGenerator"}
"""What may be used of ``np.random``: everything else draws from or seeds the global stream."""
LOOKS_AT_GLOBAL_STREAMS = {"determinism.py"}
"""The conformance check that proves that agents leave the global streams alone has to look at them."""

ONE_HOME = {"torch.set_num_threads": "threads.py"}
"""What is forbidden everywhere but in the module that puts it back afterwards."""


def name_of(node: ast.AST) -> str:
    """The dotted name of an attribute chain, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = name_of(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def offences(source: str) -> list[str]:
    """What a piece of code does that no code of ours may do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS else []
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            found += [name] if name in FORBIDDEN_CALLS else []
            head, _, last = name.rpartition(".")
            own = last in GENERATORS or (last == "default_rng" and bool(node.args))
            found += [name] if head in {"np.random", "numpy.random"} and not own else []
            found += [name] if head == "random" and last not in {"Random", "SystemRandom"} else []
            found += [
                f"{name}(allow_pickle=True)"
                for k in node.keywords
                if k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value
            ]
    return found


def test_there_is_something_to_check():
    assert len(SOURCES) > 100
    assert len(LOOP) > 10


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy as np\nnp.random.normal()",
        "import numpy as np\nnp.random.default_rng()",
        "import random\nrandom.random()",
        "torch.load('x')",
        "np.load('x', allow_pickle=True)",
        "eval('1')",
    ],
)
def test_the_rule_would_notice(code):
    assert offences(code)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "packages")))
def test_no_source_unpickles_evaluates_or_touches_global_randomness(path):
    found = offences(path.read_text(encoding="utf-8"))
    if path.name in LOOKS_AT_GLOBAL_STREAMS:
        found = [name for name in found if not name.startswith(("np.random.", "random."))]
    found = [name for name in found if ONE_HOME.get(name) != path.name]
    assert found == []


@pytest.mark.parametrize("path", LOOP, ids=lambda p: p.name)
def test_the_loop_is_blind_to_algorithms_hyperparameters_and_frameworks(path):
    assert ALGORITHM_WORDS.findall(path.read_text(encoding="utf-8")) == []


def test_no_module_is_longer_than_a_reader_can_hold():
    long = {
        str(p.relative_to(ROOT)): n
        for p in SOURCES
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_types_are_checked_in_every_distribution() -> None:
    """Pyright says nothing about an ``include`` that matches no file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pyright"]
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "packages").glob("*/src")}
    assert set(settings["include"]) == sources | {"dev.py"}
    assert set(settings["strict"]) <= sources
