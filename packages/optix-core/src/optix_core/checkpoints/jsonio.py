"""JSON as optix writes and reads it.

There is one canonical form for hashing, and the reader refuses what is ambiguous or huge.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

JsonObject = dict[str, Any]

MAX_JSON_BYTES = 16 * 2**20
MAX_DEPTH = 64


class JsonProblem(ValueError):
    """The text is not JSON that optix accepts; the message says why."""


def canonical(value: Any) -> bytes:
    """The one spelling of ``value``, for digests: sorted keys, no spaces, ASCII escapes, no NaN."""
    return _CANONICAL.encode(value).encode("ascii")


def ordered(value: Any) -> bytes:
    """Like :func:`canonical`, with keys in their own order, because a state's order may matter to its owner."""
    return _ORDERED.encode(value).encode("ascii")


# ASCII, because lone surrogates have no UTF-8 form but are legal in Python strings. Made once: logs are written often.
_CANONICAL, _ORDERED = (
    json.JSONEncoder(sort_keys=sort, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for sort in (True, False)
)


def parse_object(data: bytes | bytearray | memoryview, limit: int = MAX_JSON_BYTES) -> JsonObject:
    """Parse a JSON object strictly.

    Args:
        data: UTF-8 bytes.
        limit: Most bytes that are looked at.

    Raises:
        JsonProblem: Too long, too deep, not UTF-8, not JSON, not an object, a repeated key, or NaN and the
            like.
    """
    if len(data) > limit:
        raise JsonProblem(f"{len(data)} bytes, more than the {limit} allowed")
    try:
        value: Any = json.loads(
            bytes(data).decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constants
        )
    except RecursionError:
        raise JsonProblem("nested too deeply") from None
    except (
        ValueError
    ) as error:  # JSONDecodeError, UnicodeDecodeError, numbers of more than 4300 digits, our own
        raise JsonProblem(str(error)) from None
    if not isinstance(value, dict):
        raise JsonProblem(f"a JSON object is expected, found {type(value).__name__}")
    return cast("JsonObject", value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonProblem(f"the key {key!r} occurs twice")
            seen.add(key)
    return result


def _no_constants(name: str) -> NoReturn:
    raise JsonProblem(f"{name} is not JSON")
