"""Which values may a hyperparameter take, and which of them do tuners search?

Everything is derived from one declaration, a tuple of :class:`~optix_core.plugin.Hyper`: defaults, validation, the
bounds that tuners search, their logarithmic scale and the direction in which a value makes the policy explore. Light on
purpose: it imports neither numpy nor a framework, so that a typing mistake is found before a framework is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from optix_core.errors import HyperparamError

if TYPE_CHECKING:
    from optix_core.plugins.hyper import Hyper


class UnknownHyperparamError(HyperparamError, TypeError):
    """A name that the component does not have; a TypeError as well, as for any unknown keyword argument."""

    default_code = "E-UNKNOWN-OPTION"


class HyperparamTypeError(HyperparamError, TypeError):
    """A value of the wrong type, such as a string where a number is needed."""


@runtime_checkable
class _HasParams(Protocol):
    """What a :class:`~optix_core.types.HyperparamSet` looks like, without importing it (it needs numpy)."""

    params: dict[str, Any]


Params = Mapping[str, Any] | _HasParams
"""Values by name: a mapping or a :class:`~optix_core.types.HyperparamSet`."""


def defaults(hypers: Iterable[Hyper]) -> dict[str, Any]:
    """Every declared name with its default, in the order of declaration."""
    return {hyper.name: hyper.default for hyper in hypers}


def validate(
    params: Params, hypers: Iterable[Hyper], *, owner: str, source: str | Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A copy of ``params`` with every value checked and brought to its declared type.

    Names that are declared but not given stay absent; :func:`merge` fills them in.

    Args:
        params: The values to check; not modified.
        hypers: What is declared.
        owner: Whose they are, for messages, for example ``"optix-torch:PPO"``.
        source: Where the values came from (``"optix.toml:12"``), for messages; one text, or one per name.

    Raises:
        UnknownHyperparamError: A name is not declared; the message has the nearest one and the full list.
        HyperparamTypeError: A value is of the wrong type. A bool is not a number; 3.0 is accepted as the integer 3.
        HyperparamError: A value is out of its interval, not one of its choices, or not finite.
    """
    declared = {hyper.name: hyper for hyper in hypers}
    checked: dict[str, Any] = {}
    for name, value in as_mapping(params, owner).items():
        hyper = declared.get(name)
        if hyper is None:
            raise UnknownHyperparamError(unknown_name(name, declared, owner=owner, what="hyperparameter"))
        try:
            checked[name] = coerce(value, hyper)
        except (TypeError, ValueError) as fault:
            kind = HyperparamTypeError if isinstance(fault, TypeError) else HyperparamError
            where = source.get(name) if isinstance(source, Mapping) else source
            came = f" (from {where})" if where else ""
            raise kind(f"{owner}: {name} is {_shown(value)}{came}, but {fault}") from None
    return checked


def merge(
    hypers: Iterable[Hyper],
    *layers: Params | None,
    owner: str,
    source: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Defaults, overridden by each layer in turn; complete and validated.

    Args:
        hypers: What is declared.
        layers: Values by name; later layers win, None is an empty one.
        owner: As for :func:`validate`.
        source: As for :func:`validate`.

    Raises:
        HyperparamError: As for :func:`validate`.
    """
    hypers = tuple(hypers)
    merged = defaults(hypers)
    for layer in layers:
        if layer is not None:
            merged.update(validate(layer, hypers, owner=owner, source=source))
    return merged


def update(
    current: Mapping[str, Any],
    changes: Params,
    hypers: Iterable[Hyper],
    *,
    owner: str,
    source: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """``current`` with validated ``changes``, for an agent's ``set_hyperparams``; neither argument is modified.

    Raises:
        HyperparamError: As for :func:`validate`, or a value that is fixed once the agent is built would change.
    """
    hypers = tuple(hypers)
    checked = validate(changes, hypers, owner=owner, source=source)
    for hyper in hypers:
        if not hyper.live and hyper.name in checked and checked[hyper.name] != current.get(hyper.name):
            raise HyperparamError(
                f"{owner}: {hyper.name} is fixed once the agent is built; it is {_shown(current.get(hyper.name))} "
                f"and cannot become {_shown(checked[hyper.name])}. Build a new agent with the other value."
            )
    return {**current, **checked}


def bounds(hypers: Iterable[Hyper], *, live_only: bool = True) -> dict[str, tuple[float, float]]:
    """The range that tuners search per name, inclusive; names without one are left out.

    Args:
        hypers: What is declared.
        live_only: Leave out what cannot change while training. A search over whole runs passes False.
    """
    return {h.name: h.tune for h in hypers if h.tune is not None and (h.live or not live_only)}


def log_params(hypers: Iterable[Hyper]) -> tuple[str, ...]:
    """Names that are searched on a logarithmic scale; ``"1-name"`` where it is the complement that is."""
    return tuple(f"1-{h.name}" if h.log == "complement" else h.name for h in hypers if h.log)


def exploration_params(hypers: Iterable[Hyper]) -> dict[str, int]:
    """Names whose increase (+1) or decrease (-1) makes the policy explore more."""
    return {hyper.name: hyper.explores for hyper in hypers if hyper.explores}


def coerce(value: Any, hyper: Hyper) -> Any:
    """``value`` as the declared kind.

    Raises:
        TypeError: Wrong type; the text completes the sentence "x is 'a', but ...".
        ValueError: Right type, value not allowed; likewise.
    """
    if hyper.kind == "bool":
        if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:  # numpy's own bool
            raise TypeError("it must be True or False")
        return bool(value)
    if hyper.kind == "choice":
        for choice in hyper.choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        raise ValueError(f"it must be one of {', '.join(map(repr, hyper.choices))}")
    number = _number(value, hyper)
    below = hyper.low is not None and (number < hyper.low or (hyper.low_open and number == hyper.low))
    above = hyper.high is not None and (number > hyper.high or (hyper.high_open and number == hyper.high))
    if below or above:
        raise ValueError(f"it must be {_article(hyper.kind)} in {interval(hyper)}")
    return number


def interval(hyper: Hyper) -> str:
    """The valid interval in mathematical notation, for example ``"(0, 1]"``; choices as a set; empty for a bool."""
    if hyper.kind == "bool":
        return ""
    if hyper.kind == "choice":
        return "{" + ", ".join(map(str, hyper.choices)) + "}"
    low = "(-inf" if hyper.low is None else f"{'(' if hyper.low_open else '['}{_plain(hyper.low)}"
    high = "inf)" if hyper.high is None else f"{_plain(hyper.high)}{')' if hyper.high_open else ']'}"
    return f"{low}, {high}"


def unknown_name(name: str, known: Iterable[str], *, owner: str, what: str = "option") -> str:
    """The sentences for a name that ``owner`` does not have: the nearest one, and all there are."""
    from optix_core.plugins.hints import did_you_mean

    known = sorted(known)
    listed = f"It has: {', '.join(known)}." if known else f"It has no {what}s."
    return f"{owner} has no {what} {name!r}.{did_you_mean(name, known)} {listed}"


def as_mapping(params: object, owner: str) -> dict[str, Any]:
    """``params`` as a new dict, whether it is a mapping or a HyperparamSet.

    Raises:
        HyperparamTypeError: It is neither, or a name is not a string.
    """
    found = params.params if isinstance(params, _HasParams) else params
    if not isinstance(found, Mapping):
        raise HyperparamTypeError(
            f"{owner}: hyperparams must be a HyperparamSet or a mapping of names to values, "
            f"not {type(params).__name__}"
        )
    values: dict[str, Any] = {}
    for key, value in found.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(key, str):
            raise HyperparamTypeError(f"{owner}: a hyperparameter's name must be a string, not {key!r}")
        values[key] = value
    return values


def _number(value: Any, hyper: Hyper) -> int | float:
    """``value`` as int or float, by the kind of ``hyper``."""
    # numpy's scalars are registered with the ABCs of numbers; its bool is not, and Python's own is an int
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"it must be {_article(hyper.kind)} in {interval(hyper)}, not {type(value).__name__}")
    if hyper.kind == "int" and isinstance(value, Integral):
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"it must be finite: {_article(hyper.kind)} in {interval(hyper)}")
    if hyper.kind == "float":
        return number
    if not number.is_integer():
        raise ValueError(f"it must be a whole number: {_article(hyper.kind)} in {interval(hyper)}")
    return int(number)


def _article(kind: str) -> str:
    return {"int": "an int", "float": "a float"}.get(kind, f"a {kind}")


def _plain(number: float) -> str:
    """1.0 as "1", 0.0003 as "0.0003"."""
    return (
        str(int(number))
        if isinstance(number, float) and number.is_integer() and abs(number) < 1e15
        else repr(number)
    )


def _shown(value: object) -> str:
    """A value short enough for a message; numpy's scalars without their type."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        value = item()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
