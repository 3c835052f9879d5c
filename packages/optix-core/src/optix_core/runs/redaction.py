"""Keeping secrets out of what is written to disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

REDACTED = "[redacted]"

_SECRET = re.compile(
    r"secret|passw|pwd|credential|api[_\-. ]?key|private[_\-. ]?key|access[_\-. ]?key", re.IGNORECASE
)
_TOKEN = re.compile(r"token", re.IGNORECASE)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)[^\s/@]+@")


def redact(value: Any) -> Any:
    """A copy of a configuration without secrets.

    The values of keys that contain token, secret, password, credential or api_key are replaced, and so are
    user names and passwords inside URLs. A number under a key with "token" stays: ``max_tokens = 512`` is no
    secret.
    """
    if isinstance(value, Mapping):
        return {key: _redact_item(str(key), item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in cast("list[Any]", value)]
    if isinstance(value, str):
        return _USERINFO.sub(rf"\g<scheme>{REDACTED}@", value)
    return value


def _redact_item(key: str, value: Any) -> Any:
    if value is None or value == "":
        return value
    if _SECRET.search(key) or (_TOKEN.search(key) and not isinstance(value, int | float)):
        return REDACTED
    return redact(value)
