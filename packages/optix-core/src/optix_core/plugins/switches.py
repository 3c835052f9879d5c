"""Which plugins may load, and who said so?

Three layers, the first that mentions a plugin decides: the command line (``--plugins``, ``--no-plugin``, ``-p``), the
environment (``OPTIX_PLUGINS``, ``OPTIX_DISABLE_PLUGINS``, ``OPTIX_DISABLE_PLUGIN_AUTOLOAD``), the project's
configuration (``[tool.optix.plugins]`` in pyproject.toml, or ``[plugins]`` in optix.toml). Within a layer "off" beats
"on". An allow-list is complete: what it does not name stays off, and an empty one means none. optix-core's own
components are not a plugin in this sense: no switch removes them, so ``OPTIX_PLUGINS=`` leaves a working core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from optix_core.errors import ConfigError
from optix_core.plugins.hints import canonical, did_you_mean
from optix_core.plugins.records import CORE

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_PLUGIN_KEYS = ("allow", "disable", "autoload", "strict", "required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one source says.

    Attributes:
        allow: Canonical names that may load, and no others; None: nothing said.
        deny: Canonical names that may not load.
        autoload: False: as an empty allow-list unless there is one; None: nothing said.
        strict: Any plugin that cannot be loaded is an error; None: nothing said.
        allow_from: How the allow-list is called there, for messages.
        deny_from: How the deny-list is called there.
        autoload_from: How the autoload switch is called there.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    autoload: bool | None = None
    strict: bool | None = None
    allow_from: str = "--plugins"
    deny_from: str = "--no-plugin"
    autoload_from: str = ""

    def blocks(self, name: str) -> str | None:
        """Why ``name`` is off by this layer, None if the layer turns it on or does not say."""
        if name in self.deny:
            return f"disabled by {self.deny_from}"
        if self.allow is not None and name not in self.allow:
            return f"not named in {self.allow_from}"
        if self.allow is None and self.autoload is False:
            return f"loading of installed plugins is off ({self.autoload_from})"
        return None

    def decides(self, name: str) -> bool:
        """Whether this layer says anything about ``name``."""
        return name in self.deny or self.allow is not None or self.autoload is False


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """All layers together.

    Attributes:
        layers: Highest precedence first.
        modules: Modules to load as plugins, from ``-p``.
        required: Requirements such as ``"optix-torch>=0.3"`` that must be met by loaded plugins.
        prefer: Lower-case ``"framework:name"`` or ``"name"`` to the canonical plugin that should provide it.
        frameworks: Order of preference among frameworks that fit equally.
    """

    layers: tuple[Layer, ...] = ()
    modules: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(default_factory=dict[str, str])
    frameworks: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        *,
        plugins: str | Iterable[str] | None = None,
        disable: str | Iterable[str] = (),
        modules: Iterable[str] = (),
        strict: bool | None = None,
        environ: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Switches:
        """Switches from the command line's arguments, the environment and the configuration.

        Args:
            plugins: ``--plugins``: names, or one text with commas; None: not given.
            disable: ``--no-plugin``, likewise.
            modules: ``-p``: modules to load; ``no:NAME`` disables a plugin instead.
            strict: ``--strict``.
            environ: Instead of ``os.environ``.
            config: Instead of what :func:`find_config` finds: a mapping with ``plugins``, ``frameworks``, ``agents``.

        Raises:
            ConfigError: A variable or a key of the configuration has a value that means nothing.
        """
        if environ is None:
            import os

            environ = os.environ
        if config is None:
            config = find_config(Path.cwd())
        modules = tuple(modules)
        denied = frozenset((*_names(disable), *(canonical(m[3:]) for m in modules if m.startswith("no:"))))
        flags = Layer(
            allow=None if plugins is None else frozenset(_names(plugins)),
            deny=denied,
            strict=strict,
        )
        settings = _config_layer(config)
        return cls(
            layers=(flags, _environment_layer(environ), settings),
            modules=tuple(module for module in modules if not module.startswith("no:")),
            required=_texts(config, "plugins", "required"),
            prefer=_preferences(config),
            frameworks=_frameworks(environ, config),
        )

    def blocked(self, name: str) -> str | None:
        """Why the plugin ``name`` must not load, or None if it may."""
        if name == CORE:
            return None
        for layer in self.layers:
            if layer.decides(name):
                return layer.blocks(name)
        return None

    def names(self, name: str) -> bool:
        """Whether the user asked for this very plugin in an allow-list."""
        return any(layer.allow is not None and name in layer.allow for layer in self.layers)

    @property
    def strict(self) -> bool:
        """Whether a plugin that cannot be loaded is an error."""
        return next((layer.strict for layer in self.layers if layer.strict is not None), False)

    def unknown(self, installed: Iterable[str]) -> tuple[str, ...]:
        """Sentences about names in switches that no installed plugin has."""
        installed = sorted(installed)
        found: list[str] = []
        for layer in self.layers:
            for names, source in (
                (layer.allow or frozenset(), layer.allow_from),
                (layer.deny, layer.deny_from),
            ):
                found.extend(
                    f"{source} names {name!r}, but no plugin of that name is installed."
                    f"{did_you_mean(name, installed)}"
                    for name in sorted(names - set(installed))
                )
                if names is layer.deny and CORE in names:
                    found.append(f"{source} names {CORE!r}, which cannot be disabled")
        return tuple(found)


def truth(text: str, source: str) -> bool:
    """A switch's text as True or False.

    Raises:
        ConfigError: It is neither.
    """
    folded = text.strip().casefold()
    if folded in _TRUE or folded in _FALSE:
        return folded in _TRUE
    raise ConfigError(f"{source} is {text!r}; it must be one of 1, true, yes, on, 0, false, no, off")


def find_config(folder: Path) -> dict[str, Any]:
    """The plugin settings of the project that ``folder`` belongs to, empty if there are none.

    Looked for in ``folder`` and above, up to the first folder with an optix.toml, a pyproject.toml or a ``.git``.

    Raises:
        ConfigError: The file is not valid TOML.
    """
    for place in (folder, *folder.parents):
        own, project = place / "optix.toml", place / "pyproject.toml"
        if own.is_file():
            return _section(_toml(own), own)
        if project.is_file():
            if b"optix" not in project.read_bytes():  # most files have no section of ours: don't parse them
                return {}
            return _section(_table(_toml(project), "tool").get("optix", {}), project)
        if (place / ".git").exists():
            return {}
    return {}


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not valid TOML: {fault}") from None


def _section(found: Any, path: Path) -> dict[str, Any]:
    """The three tables that concern plugins, and where they were read."""
    tables = _table({"optix": found, "path": str(path)}, "optix")
    return {
        "path": str(path),
        **{key: tables[key] for key in ("plugins", "frameworks", "agents") if key in tables},
    }


def _environment_layer(environ: Mapping[str, str]) -> Layer:
    allow, deny = environ.get("OPTIX_PLUGINS"), environ.get("OPTIX_DISABLE_PLUGINS", "")
    autoload, strict = environ.get("OPTIX_DISABLE_PLUGIN_AUTOLOAD"), environ.get("OPTIX_STRICT_PLUGINS")
    return Layer(
        allow=None if allow is None else frozenset(_names(allow)),
        deny=frozenset(_names(deny)),
        autoload=None if autoload is None else not truth(autoload, "OPTIX_DISABLE_PLUGIN_AUTOLOAD"),
        strict=None if strict is None else truth(strict, "OPTIX_STRICT_PLUGINS"),
        allow_from="OPTIX_PLUGINS",
        deny_from="OPTIX_DISABLE_PLUGINS",
        autoload_from="OPTIX_DISABLE_PLUGIN_AUTOLOAD",
    )


def _config_layer(config: Mapping[str, Any]) -> Layer:
    path = config.get("path", "the configuration")
    table = _table(config, "plugins")
    for key in table:
        if key not in _PLUGIN_KEYS:
            raise ConfigError(
                f"{path}: plugins has no key {key!r}.{did_you_mean(key, _PLUGIN_KEYS)} "
                f"Keys: {', '.join(_PLUGIN_KEYS)}"
            )
    for key in ("autoload", "strict"):
        if key in table and not isinstance(table[key], bool):
            raise ConfigError(f"{path}: plugins.{key} is {table[key]!r}; it must be true or false")
    return Layer(
        allow=frozenset(_names(_texts(config, "plugins", "allow"))) if "allow" in table else None,
        deny=frozenset(_names(_texts(config, "plugins", "disable"))),
        autoload=table.get("autoload"),
        strict=table.get("strict"),
        allow_from=f"plugins.allow in {path}",
        deny_from=f"plugins.disable in {path}",
        autoload_from=f"plugins.autoload in {path}",
    )


def _frameworks(environ: Mapping[str, str], config: Mapping[str, Any]) -> tuple[str, ...]:
    from optix_core.plugins.hints import framework_name

    text = environ.get("OPTIX_FRAMEWORK")
    given = text.split(",") if text is not None else _texts(config, "frameworks", "prefer")
    return tuple(framework_name(name) for name in given if name.strip())


def _preferences(config: Mapping[str, Any]) -> dict[str, str]:
    path = config.get("path", "the configuration")
    table = _table(config, "agents").get("prefer", {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: agents.prefer must be a table of names to plugins")
    chosen: dict[str, str] = {}
    for name, plugin in cast("Mapping[str, Any]", table).items():
        if not isinstance(plugin, str):
            raise ConfigError(f"{path}: agents.prefer.{name} is {plugin!r}; it must be the name of a plugin")
        chosen[name.casefold()] = canonical(plugin)
    return chosen


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = config.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{config.get('path', 'the configuration')}: {name} must be a table, not {table!r}")
    return cast("Mapping[str, Any]", table)


def _texts(config: Mapping[str, Any], table: str, key: str) -> tuple[str, ...]:
    value = _table(config, table).get(key, ())
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(
            f"{config.get('path', 'the configuration')}: {table}.{key} is {value!r}; it must be a list of texts"
        )
    items = tuple(cast("Sequence[Any]", value))
    if not all(isinstance(item, str) for item in items):
        raise ConfigError(f"{config.get('path', 'the configuration')}: {table}.{key} must hold texts only")
    return items


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Canonical names; a text is split at commas and blanks, and so is each item of a list."""
    items = [given] if isinstance(given, str) else given
    return tuple(canonical(name) for item in items for name in item.replace(",", " ").split())
