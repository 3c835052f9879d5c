"""What could the user have meant, and what should they install?

The only names of algorithms in core's code base are data: ``known_plugins.json`` says which distribution holds what, so
that an error can name the package to install. Nothing is chosen by it.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast


def canonical(name: str) -> str:
    """A distribution's name in the form in which two spellings of it are equal: ``optix_torch`` is ``optix-torch``."""
    return re.sub(r"[-_.]+", "-", name).strip("-").lower()


def close_to(name: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Up to ``limit`` of ``known`` that look like ``name``, best first, whatever their case."""
    import difflib

    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=limit, cutoff=0.5)
    return tuple(by_folded[folded] for folded in close)


def did_you_mean(name: str, known: Iterable[str], *, quote: bool = True) -> str:
    """``" Did you mean 'x'?"`` with a leading space, or nothing if nothing is close."""
    close = close_to(name, known, limit=1)
    return (
        f" Did you mean {close[0]!r}?" if close and quote else f" Did you mean {close[0]}?" if close else ""
    )


@functools.cache
def known_plugins() -> dict[str, Any]:
    """The shipped table: ``algorithms`` and ``frameworks`` by name, ``distributions`` with what they are."""
    text = Path(__file__).with_name("known_plugins.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def distributions_with(algorithm: str) -> tuple[str, ...]:
    """Distributions known to offer an agent or algorithm of this name."""
    return tuple(_folded("algorithms").get(algorithm.casefold(), ()))


def known_algorithms() -> tuple[str, ...]:
    """Every agent and algorithm name in the table, in its own spelling."""
    return tuple(known_plugins()["algorithms"])


def framework_name(name: str) -> str:
    """The short name of a framework: ``pytorch`` is ``torch``; unknown names are only lower-cased."""
    folded = name.strip().casefold()
    return known_plugins()["framework_aliases"].get(folded, folded)


def framework_title(name: str) -> str:
    """How a framework is written in a sentence: ``tf`` is TensorFlow."""
    return known_plugins()["frameworks"].get(name, {}).get("title", name)


def distribution_of_framework(name: str) -> str | None:
    """The distribution that holds a framework's agents, if one is known."""
    return known_plugins()["frameworks"].get(name, {}).get("distribution")


def known_frameworks() -> tuple[str, ...]:
    """Short names of all frameworks in the table."""
    return tuple(known_plugins()["frameworks"])


def install_command(*requirements: str) -> str:
    """The command that installs into the environment of *this* interpreter, quoted for a shell.

    ``uv`` where it made the environment (it has no pip of its own then), otherwise pip.
    """
    import shlex

    quoted = " ".join(shlex.quote(requirement) for requirement in requirements)
    python = shlex.quote(sys.executable or "python3")
    if _made_by_uv():
        return f"uv pip install --python {python} {quoted}"
    return f"{python} -m pip install {quoted}"


def _made_by_uv() -> bool:
    """Whether pyvenv.cfg of the running environment has uv's key."""
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in text.splitlines())


def _folded(table: str) -> dict[str, list[str]]:
    return {name.casefold(): dists for name, dists in known_plugins()[table].items()}
