"""What one preset says, and how it is read from a table of its file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

from optix_core.errors import ConfigError

_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "summary": (str,),
    "environments": (list,),
    "environment_note": (str,),
    "requires": (list,),
    "algorithm": (str,),
    "n_envs": (int,),
    "window_size": (int,),
    "max_steps": (int,),
    "env_kwargs": (dict,),
    "agent": (dict,),
    "source": (dict,),
    "published": (dict,),
}
_NEEDED = ("name", "summary", "environments", "algorithm", "n_envs", "max_steps", "agent", "source")
_SOURCE = {"name": (str,), "where": (str,), "changed": (list,)}
_PUBLISHED = {"score": (int, float), "spread": (int, float), "steps": (int,), "how": (str,), "by": (str,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the numbers of a preset come from.

    Attributes:
        name: Whose they are.
        where: The file and entry, or the paper and table.
        changed: What differs here from what is written there, and why, one sentence each.
    """

    name: str
    where: str
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line, without what was changed."""
        return f"facts from {self.name}, {self.where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A result that somebody published for the settings of the source, before any of our changes.

    Attributes:
        score: Return per episode.
        spread: Its standard deviation over episodes or runs (``how`` says which), None if not given.
        steps: Environment steps of training.
        how: How it was measured.
        by: Where it is published.
    """

    score: float
    spread: float | None = None
    steps: int
    how: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Settings for an environment and an algorithm.

    Attributes:
        name: ``"environment/algorithm"``, lower case.
        summary: One line.
        environments: Ids it is meant for; ``*`` and ``?`` are wildcards.
        environment_note: What is special about the environment, empty if nothing is.
        requires: Extras of optix-core that bring the environment's packages, for example ``"box2d"``.
        algorithm: The agent's own name, for example ``"GaussianPPO"``.
        n_envs: Environments stepped together.
        window_size: Steps per environment in one window; None: chosen by the loop.
        max_steps: Budget in environment steps, over all environments.
        env_kwargs: Keyword arguments of the environment.
        agent: Hyperparameters and options of the agent, normalisation among them.
        source: Where the numbers come from.
        published: What the source's settings are said to reach; None where nobody published that.
        digest: SHA-256 of everything above, so that a run can tell which version it used.
    """

    name: str
    summary: str
    environments: tuple[str, ...]
    environment_note: str = ""
    requires: tuple[str, ...] = ()
    algorithm: str
    n_envs: int
    window_size: int | None = None
    max_steps: int
    env_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    agent: Mapping[str, Any] = field(hash=False)
    source: Source
    published: Published | None = None
    digest: str

    def fits(self, env: str) -> bool:
        """Whether it is meant for the environment of this id."""
        return any(fnmatchcase(env, pattern) for pattern in self.environments)

    def settings(self) -> dict[str, Any]:
        """What it sets, as nested settings of a run. The environment itself is not among them."""
        found: dict[str, Any] = {
            "algorithm": self.algorithm,
            "n_envs": self.n_envs,
            "window_size": self.window_size,
            "max_steps": self.max_steps,
            "agent": dict(self.agent),
        }
        if self.env_kwargs:
            found["env_kwargs"] = dict(self.env_kwargs)
        return found

    def record(self) -> dict[str, str]:
        """What a run keeps to tell which preset it used."""
        return {"name": self.name, "source": str(self.source), "digest": self.digest}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        published = None
        if self.published is not None:
            published = {name: getattr(self.published, name) for name in _PUBLISHED}
        return {
            "name": self.name,
            "summary": self.summary,
            "environments": list(self.environments),
            "environment_note": self.environment_note,
            "requires": list(self.requires),
            "settings": self.settings(),
            "source": {
                "name": self.source.name,
                "where": self.source.where,
                "changed": list(self.source.changed),
            },
            "published": published,
            "digest": self.digest,
        }


def read_preset(table: Mapping[str, Any], where: str) -> Preset:
    """The preset that a table of a file describes.

    Args:
        table: As parsed.
        where: The file, for messages.

    Raises:
        ConfigError: Something is missing, unknown or of the wrong kind.
    """
    name = str(table.get("name", "(without a name)"))
    place = f"{where}: preset {name}"
    _check(table, _KINDS, _NEEDED, place)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: a name reads environment/algorithm, in lower case")
    source, published = table["source"], table.get("published")
    _check(source, _SOURCE, ("name", "where"), f"{place}: source")
    if published is not None:
        _check(published, _PUBLISHED, ("score", "steps", "how", "by"), f"{place}: published")
    plain = json.dumps(table, sort_keys=True, ensure_ascii=True)
    return Preset(
        name=name,
        summary=table["summary"],
        environments=_texts(table["environments"], f"{place}: environments", needed=True),
        environment_note=table.get("environment_note", ""),
        requires=_texts(table.get("requires", []), f"{place}: requires"),
        algorithm=table["algorithm"],
        n_envs=_positive(table, "n_envs", place),
        window_size=_positive(table, "window_size", place) if "window_size" in table else None,
        max_steps=_positive(table, "max_steps", place),
        env_kwargs=dict(table.get("env_kwargs", {})),
        agent=dict(table["agent"]),
        source=Source(
            name=source["name"],
            where=source["where"],
            changed=_texts(source.get("changed", []), f"{place}: source.changed"),
        ),
        published=None if published is None else Published(**published),
        digest=hashlib.sha256(plain.encode("ascii")).hexdigest(),
    )


def _check(
    table: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]], needed: tuple[str, ...], place: str
) -> None:
    from optix_core.plugins.hints import did_you_mean

    for key in table:
        if key not in kinds:
            raise ConfigError(f"{place} has no {key!r}.{did_you_mean(key, kinds)} It has {', '.join(kinds)}")
    for key in needed:
        if key not in table:
            raise ConfigError(f"{place} lacks {key}")
    for key, value in table.items():
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            words = " or ".join(kind.__name__ for kind in kinds[key])
            raise ConfigError(f"{place}: {key} is {value!r}; it must be of kind {words}")


def _positive(table: Mapping[str, Any], key: str, place: str) -> int:
    value = table[key]
    if value < 1:
        raise ConfigError(f"{place}: {key} is {value}; it must be at least 1")
    return int(value)


def _texts(values: Any, place: str, *, needed: bool = False) -> tuple[str, ...]:
    found = cast("list[Any]", values)
    if not all(isinstance(value, str) and value for value in found) or (needed and not found):
        raise ConfigError(f"{place} is {found!r}; it must be a list of texts{' with at least one' * needed}")
    return tuple(found)
