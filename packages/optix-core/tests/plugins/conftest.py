"""Plugins to load: real ones written to a temporary folder, and light ones made of objects."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
import uuid
from importlib.metadata import EntryPoint, distributions
from types import SimpleNamespace

import pytest

from optix_core.plugin import ENTRY_POINT_GROUP, AgentSpec, hookimpl
from optix_core.plugins.protocol import AgentRequest
from optix_core.plugins.registry import Registry
from optix_core.plugins.switches import Switches


class Box:
    def __init__(self, *shape):
        self.shape = shape


class Discrete:
    def __init__(self, n):
        self.n = n


class Tuple:
    def __init__(self, *spaces):
        self.spaces = spaces


class Dict:
    def __init__(self, **spaces):
        self.spaces = spaces


class MultiDiscrete:
    def __repr__(self):
        return "MultiDiscrete([2 3])"


SPACES = {
    "box": Box(3),
    "discrete": Discrete(4),
    "tuple": Tuple(Box(2), Discrete(2)),
    "dict": Dict(goal=Box(2), position=Box(3)),
    "multi_discrete": MultiDiscrete(),
}


class Env:
    """An environment as far as choosing an agent is concerned."""

    def __init__(self, action="discrete", observation="box", env_id=None):
        self.action_space = SPACES[action]
        self.observation_space = SPACES[observation]
        self.closed = 0
        if env_id:
            self.spec = SimpleNamespace(id=env_id)

    def close(self):
        self.closed += 1


class FakeDist:
    """A distribution's metadata without files."""

    def __init__(self, name, version="0.1.0", requires=("optix-core>=0.1,<1",)):
        self.name, self.version, self.requires = name, version, list(requires)

    def read_text(self, name):
        return None

    def locate_file(self, name):
        return f"/site/{self.name}"


class FakePoint:
    """An entry point that leads to an object."""

    def __init__(self, dist, plugin, *, name=None, version="0.1.0", requires=("optix-core>=0.1,<1",)):
        self.name, self.value, self.group = (
            name or dist,
            f"{dist.replace('-', '_')}.plugin",
            ENTRY_POINT_GROUP,
        )
        self.dist = FakeDist(dist, version, requires)
        self._plugin = plugin

    def load(self):
        if isinstance(self._plugin, BaseException):
            raise self._plugin
        return self._plugin


def agent(name="PPO", algorithm="", framework="torch", action="discrete", **fields):
    """An agent's spec with little typing; ``action`` may hold several kinds."""
    fields.setdefault("factory", "made.up:build")
    fields.setdefault("default_rank", 100)
    return AgentSpec(
        name=name, algorithm=algorithm, framework=framework, action_spaces=frozenset(action.split()), **fields
    )


def plugin(*specs, api="1.0", **hooks):
    """A plugin object with these agents, and other hooks by name (``pipelines=[...]``, or functions)."""

    def returning(value):
        return hookimpl(lambda self: value)

    members = {
        f"optix_{name}": value if callable(value) else returning(value) for name, value in hooks.items()
    }
    if specs:
        members["optix_agents"] = returning(list(specs))
    if api is not None:
        members["OPTIX_API"] = api
    return type("Plugin", (), members)()


def registry(*points, switches=None, **options):
    """A registry that sees these entry points and nothing of the machine it runs on."""
    return Registry(entry_points=list(points), switches=switches or Switches(), **options)


def request(name=None, action="discrete", observation="box", **fields):
    """What make_agent asks for."""
    from optix_core.plugins.envs import space_text

    return AgentRequest(
        name=name,
        action_space=action,
        observation_space=observation,
        action_space_text=space_text(SPACES[action]),
        observation_space_text=space_text(SPACES[observation]),
        **fields,
    )


class Workshop:
    """Makes installed distributions in a folder: code, metadata and entry points as an installer would write them."""

    def __init__(self, folder):
        self.folder = folder
        self.modules = []

    def distribution(
        self, name, source, *, version="0.1.0", requires=("optix-core>=0.1,<1",), files=None, entry=None
    ):
        """Install a distribution whose plugin module has this source; returns the name of its package.

        Args:
            name: The distribution.
            source: The plugin module's code; ``PACKAGE`` in it stands for the package's name.
            version: Its version.
            requires: Its dependencies.
            files: Further modules of the package by name.
            entry: Instead of the usual entry points: the text of entry_points.txt.
        """
        package = f"{re.sub(r'[-.]', '_', name)}_{uuid.uuid4().hex[:8]}"
        self.modules.append(package)
        home = self.folder / package
        home.mkdir()
        files = {"__init__": "", "plugin": source, **(files or {})}
        for module, text in files.items():
            (home / f"{module}.py").write_text(textwrap.dedent(text).replace("PACKAGE", package))
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
            *(f"Requires-Dist: {r}" for r in requires),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        entry = entry or f"[{ENTRY_POINT_GROUP}]\n{name} = {package}.plugin\n"
        (info / "entry_points.txt").write_text(entry.replace("PACKAGE", package))
        importlib.invalidate_caches()
        return package

    def points(self) -> list[EntryPoint]:
        """The entry points of everything installed here."""
        found = [p for d in distributions(path=[str(self.folder)]) for p in d.entry_points]
        return [p for p in found if p.group == ENTRY_POINT_GROUP]

    def registry(self, **options):
        """A registry that sees what is installed here."""
        options.setdefault("switches", Switches())
        return Registry(entry_points=self.points, **options)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    shop = Workshop(folder)
    yield shop
    for name in list(sys.modules):
        if name.partition(".")[0] in shop.modules:
            del sys.modules[name]


@pytest.fixture(scope="session")
def kit():
    return SimpleNamespace(
        Env=Env,
        FakePoint=FakePoint,
        SPACES=SPACES,
        agent=agent,
        plugin=plugin,
        registry=registry,
        request=request,
    )
