"""Planting a slip into code that runs: a piece of one function's source, and what stands there instead.

It is put in force through pytest's monkeypatch, so it is gone after the test. Where the piece cannot be found, the page
has changed, and the slip has to be written anew: that fails loudly, for a slip that is not planted proves nothing.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from typing import Any

from optix_jax.training import compiled


def plant(monkeypatch: Any, where: str, *edits: tuple[str, str]) -> None:
    """Put ``edits`` (piece, replacement) in force in the function ``"module:Class.function"``.

    A function that a module has imported is changed for this module only.
    """
    name, path = where.split(":")
    owner: Any = importlib.import_module(f"optix_{name}")
    *inner, last = path.split(".")
    for part in inner:
        owner = getattr(owner, part)
    plain = inspect.unwrap(inspect.getattr_static(owner, last))
    source = textwrap.dedent(inspect.getsource(plain))
    for piece, replacement in edits:
        assert source.count(piece) == 1, (
            f"{where} has {source.count(piece)} times {piece!r}; write this slip anew"
        )
        source = source.replace(piece, replacement)
    made: dict[str, Any] = {}
    exec(compile(source, f"<slip in {where}>", "exec"), plain.__globals__, made)
    monkeypatch.setattr(owner, last, made[last])
    compiled._shared.cache_clear()  # programs that were made before know nothing of the slip
