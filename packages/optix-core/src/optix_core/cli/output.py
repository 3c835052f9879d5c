"""How listings are printed: as a table, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two blanks between them; the last one is not padded, and nothing is cut."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def print_json(document: dict[str, Any]) -> None:
    """One document, keys in the order given, Unicode as it is."""
    print(json.dumps(document, indent=2, ensure_ascii=False))
