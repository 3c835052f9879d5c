"""A small complete plugin to start from: what ``optix plugins new`` writes."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from optix_core._version import __version__
from optix_core.errors import ConfigError
from optix_core.plugins.hints import canonical
from optix_core.plugins.records import API_VERSION, FIRST_PARTY

KINDS = ("agent", "tuner", "callback", "pipeline", "mutator")
FRAMEWORKS = ("numpy", "torch")
_DESCRIPTIONS = {
    "agent": "An agent",
    "tuner": "A hyperparameter tuner",
    "callback": "An observer of training",
    "pipeline": "A source of experience",
    "mutator": "A topology mutator",
}
_USAGE = {
    "agent": "```python\nimport gymnasium as gym\nfrom optix_core import Optimizer, make_agent\n\n"
    'env = gym.make("CartPole-v1")\nOptimizer(make_agent("$dist:$name", env), env).run()\n```',
    "tuner": 'Use it by name: `Optimizer(agent, env, optimizer="$dist:$name")`.',
    "callback": "Use it in code: `Optimizer(agent, env, callbacks=[$cls()])`.",
    "pipeline": "Use it in code: `RLOptimizer(agent, $cls(env, window_size=2048))`.",
    "mutator": 'Use it by name: `TopologyController.for_graph(graph, grow=("$dist:$name",))` of optix-neuroevo.',
}
_DEPENDENCIES = {
    "numpy": ("gymnasium", "numpy"),
    "torch": ("gymnasium", "numpy", "safetensors", "torch>=2.6"),
}


def create(into: Path, name: str, *, kind: str = "agent", framework: str = "numpy") -> Path:
    """Write a distribution with one component into a new folder of its name.

    Args:
        into: The folder in which the new one is made.
        name: Name of the distribution, for example ``"optix-hello"``.
        kind: ``"agent"``, ``"tuner"``, ``"callback"``, ``"pipeline"`` or ``"mutator"``.
        framework: Of an agent: ``"numpy"`` or ``"torch"``.

    Returns:
        The new folder.

    Raises:
        ConfigError: The name cannot be used, the folder is not empty or cannot be written, or there is no such
            template.
    """
    contents = render(name, kind=kind, framework=framework)
    folder = into / canonical(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} exists already; choose another name or folder, or remove it", code="E-USAGE"
        )
    try:
        for path, text in contents.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error}", code="E-USAGE") from error
    return folder


def render(name: str, *, kind: str = "agent", framework: str = "numpy") -> dict[str, str]:
    """Path inside the distribution to text, for every file of it; as for :func:`create`."""
    if kind not in KINDS or framework not in FRAMEWORKS:
        raise ConfigError(
            f"kinds are {', '.join(KINDS)}; frameworks are {', '.join(FRAMEWORKS)}", code="E-USAGE"
        )
    if framework != "numpy" and kind != "agent":
        raise ConfigError(f"--framework is about agents; a {kind} has none", code="E-USAGE")
    values = _values(name, kind, framework)
    own = f"agent-{framework}" if kind == "agent" else kind
    package, module = values["package"], values["module"]
    sources = {
        "pyproject.toml": "common/pyproject.toml.tmpl",
        "README.md": "common/README.md.tmpl",
        ".gitignore": "common/gitignore.tmpl",
        ".github/workflows/tests.yml": "common/workflow.yml.tmpl",
        f"src/{package}/__init__.py": "common/init.py.tmpl",
        f"src/{package}/plugin.py": f"{own}/plugin.py.tmpl",
        f"src/{package}/{module}.py": f"{own}/{module}.py.tmpl",
        "tests/test_conformance.py": f"{own}/test_conformance.py.tmpl",
    }
    templates = files("optix_core.plugins") / "templates"
    written = {
        path: Template((templates / source).read_text(encoding="utf-8")).substitute(values)
        for path, source in sources.items()
    }
    return {**written, f"src/{package}/py.typed": ""}


def next_steps(folder: Path, python: str) -> str:
    """What to do with a new plugin."""
    import shlex

    place = shlex.quote(str(folder))
    return "\n".join([
        "next:",
        f'  {shlex.quote(python)} -m pip install -e {shlex.quote(f"{folder}[test]")}',
        "  optix plugins list",
        f"  {shlex.quote(python)} -m pytest {place}",
    ])  # fmt: skip


def _values(name: str, kind: str, framework: str) -> dict[str, str]:
    """What the templates are filled in with.

    Raises:
        ConfigError: The name is not one that a third party's distribution can have.
    """
    dist = canonical(name)
    package = dist.replace("-", "_")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name) or not package.isidentifier():
        raise ConfigError(
            f"{name!r} cannot be the name of a distribution: start with a letter, then letters, digits and hyphens",
            code="E-USAGE",
        )
    if dist in FIRST_PARTY or dist == "optix" or keyword.iskeyword(package):
        raise ConfigError(
            f"{name!r} is taken; choose a name of your own, for example optix-hello", code="E-USAGE"
        )
    words = [word for word in dist.removeprefix("optix-").split("-") if word]
    title = "".join(word[:1].upper() + word[1:] for word in words)
    title = title if title.isidentifier() else f"Optix{title}"
    minor = ".".join(__version__.split(".")[:2])
    needs = (
        f"optix-core>={minor},<1",
        *(_DEPENDENCIES[framework] if kind in {"agent", "pipeline"} else ("numpy",)),
    )
    if kind == "callback":
        needs = needs[:1]
    values = {
        "dist": dist,
        "package": package,
        "module": kind,
        "name": title if kind == "agent" else "_".join(words),
        "cls": f"{title}{kind.capitalize()}",
        "api": API_VERSION,
        "description": _DESCRIPTIONS[kind],
        "dependencies": ", ".join(f'"{need}"' for need in sorted(needs)),
    }
    return {**values, "usage": Template(_USAGE[kind]).substitute(values)}
