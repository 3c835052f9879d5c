"""YAML files by the rules of YAML 1.2: ``1e-3`` is a number, ``no`` and ``1_000`` are texts.

Values are built from the parsed nodes directly, by a closed list of tags: nothing in a file can name a Python object.
"""

from __future__ import annotations

import re
from typing import Any

from optix_core.errors import ConfigError

MAX_NODES = 10_000  # every alias counts as often as it is used
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"  # stands for "neither quoted nor tagged"
# YAML 1.2.2, section 10.3.2: core schema
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_KINDS = {
    "bool": (_BOOL,),
    "float": (_INT, _FLOAT, _INFINITE),
    "int": (_INT, _OCTAL, _HEX),
    "null": (_NULL,),
    "str": (),
}


def read_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The data in ``text`` and ``"name:line"`` for each dotted name.

    Raises:
        ConfigError: PyYAML is missing, or: a syntax error, a repeated key, a tag that is not plain data, a document
            that is not one mapping, or one that expands to more than 10,000 values; with line and column.
    """
    yaml = _pyyaml(name)

    class Loader(yaml.BaseLoader):
        """Leaves unquoted scalars to us; makes nodes only, never objects."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is yaml.ScalarNode and implicit[0]:
                return _PLAIN
            return yaml.BaseLoader.resolve(self, kind, value, implicit)

    try:
        nodes: list[Any] = list(yaml.compose_all(text, Loader=Loader))
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        where = name if mark is None else f"{name}, line {mark.line + 1}, column {mark.column + 1}"
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}: this is not valid YAML: {what}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}: this is not valid YAML: {error}") from None
    if len(nodes) > 1:
        raise ConfigError(
            f"{name}, line {nodes[1].start_mark.line + 1}: one document is expected, this is a second one"
        )
    if not nodes:
        return {}, {}
    builder = _Builder(name)
    data = builder.build(nodes[0], "", 0)
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        kind = "list" if isinstance(data, list) else "single value"
        raise ConfigError(
            f"{name}, line 1: the file must hold a mapping (name: value), but it holds a {kind}"
        )
    return data, builder.lines  # pyright: ignore[reportUnknownVariableType]


def _pyyaml(name: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{name}: reading YAML needs PyYAML. Install it (the yaml extra of optix-core), or write the file as TOML, "
            "which needs nothing."
        ) from None
    return yaml


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[str, str] = {}
        self._count = 0

    def build(self, node: Any, path: str, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            limit = f"{MAX_NODES:,} values" if self._count > MAX_NODES else f"{MAX_DEPTH} levels"
            raise self._error(node, f"the file expands to more than {limit}; use fewer aliases (*name)")
        if path:
            self.lines.setdefault(path, f"{self.name}:{node.start_mark.line + 1}")
        kind = type(node).__name__
        if kind == "ScalarNode":
            return self._scalar(node)
        if node.tag not in {f"{_TAG}map", f"{_TAG}seq"}:
            raise self._error(node, f"tag {node.tag!r} is not allowed; a configuration holds plain data only")
        if kind == "SequenceNode":
            return [self.build(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if type(key_node).__name__ == "ScalarNode" else None
            if not isinstance(key, str):
                raise self._error(
                    key_node, f"a name must be a text, but this is {key_node.value!r}; put it in quotes"
                )
            if key == "<<" and key_node.style is None:
                raise self._error(key_node, "merging with << is not supported; write the values out")
            if key in result:
                raise self._error(key_node, f"{key!r} appears twice in one mapping; remove one of them")
            inner = f"{path}.{key}" if path else key
            result[key] = self.build(value_node, inner, depth + 1)
            self.lines[inner] = f"{self.name}:{key_node.start_mark.line + 1}"
        return result

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        tag: str = node.tag
        if tag == _PLAIN:
            return _plain(text)
        if tag == "!":
            return text
        kind = tag.removeprefix(_TAG)
        if kind not in _KINDS or not tag.startswith(_TAG):
            raise self._error(node, f"tag {tag!r} is not allowed; a configuration holds plain data only")
        if kind == "str":
            return text
        if not any(pattern.fullmatch(text) for pattern in _KINDS[kind]):
            raise self._error(node, f"{text!r} is not a {kind}")
        return float(_plain(text)) if kind == "float" else _plain(text)

    def _error(self, node: Any, what: str) -> ConfigError:
        mark = node.start_mark
        return ConfigError(f"{self.name}, line {mark.line + 1}, column {mark.column + 1}: {what}")


def _plain(text: str) -> Any:
    """An unquoted scalar by the core schema."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if len(text) > 400:  # no number worth having is longer, and Python refuses to read some that are
        return text
    for pattern, base in ((_INT, 10), (_OCTAL, 8), (_HEX, 16)):
        if pattern.fullmatch(text):
            return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _INFINITE.fullmatch(text) else text
