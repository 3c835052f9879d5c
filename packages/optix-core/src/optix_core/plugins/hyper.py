"""How does a plugin declare one hyperparameter, or one option of a component's construction?"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from optix_core.errors import PluginError
from optix_core.hyperparams import coerce, interval

Scalar = bool | int | float | str
HyperKind = Literal["float", "int", "bool", "choice"]

RESERVED = frozenset({
    "algorithm", "algorithm_or_env", "env", "framework", "deterministic", "neuroevo", "recurrent", "hyperparams",
    "seed", "device", "ctx", "self",
})  # fmt: skip
"""Names that ``make_agent`` or a factory's own parameters take, so that no option can have them."""


class SpecError(PluginError, ValueError):
    """A plugin describes a component in a way that cannot be right."""

    default_code = "E-SPEC"


@dataclass(frozen=True, slots=True)
class Hyper:
    """One hyperparameter: the only place where its default, valid interval and tuning range are written down.

    Attributes:
        name: A Python identifier, for example ``"learning_rate"``.
        default: The value if the user gives none; must be valid itself.
        kind: ``"float"``, ``"int"``, ``"bool"`` or ``"choice"``.
        low: Smallest valid value, None if there is no limit. Numbers only.
        high: Largest valid value, None if there is no limit. Numbers only.
        low_open: ``low`` itself is not valid.
        high_open: ``high`` itself is not valid.
        tune: The narrower, inclusive range ``(lo, hi)`` that tuners search; None: not tuned. Numbers only.
        log: Tuners search on a logarithmic scale; needs a positive ``tune``. ``"complement"``: it is ``1 - x`` that is
            on a logarithmic scale, for discounts and the like; needs a ``tune`` below 1.
        choices: What a ``"choice"`` may be.
        live: Can change while training; False: fixed once the agent is built.
        explores: +1 if a larger value makes the policy explore more, -1 if a smaller one does, else 0.
        help: One sentence with the unit.

    Raises:
        SpecError: The declaration contradicts itself.
    """

    name: str
    default: Scalar
    kind: HyperKind = "float"
    low: float | None = field(default=None, kw_only=True)
    high: float | None = field(default=None, kw_only=True)
    low_open: bool = field(default=False, kw_only=True)
    high_open: bool = field(default=False, kw_only=True)
    tune: tuple[float, float] | None = field(default=None, kw_only=True)
    log: bool | Literal["complement"] = field(default=False, kw_only=True)
    choices: tuple[Scalar, ...] = field(default=(), kw_only=True)
    live: bool = field(default=True, kw_only=True)
    explores: int = field(default=0, kw_only=True)
    help: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_option_name(self.name, "Hyper")
        if self.kind not in {"float", "int", "bool", "choice"}:
            raise self._error(f"kind is {self.kind!r}; it must be 'float', 'int', 'bool' or 'choice'")
        object.__setattr__(self, "choices", tuple(self.choices))
        if self.explores not in {-1, 0, 1}:
            raise self._error(f"explores is {self.explores!r}; it must be -1, 0 or +1")
        if self.kind in {"float", "int"}:
            self._check_number()
        else:
            given = [n for n in ("low", "high", "tune") if getattr(self, n) is not None]
            given += [n for n in ("low_open", "high_open", "log", "explores") if getattr(self, n)]
            if given:
                raise self._error(f"a {self.kind} has no {given[0]}; that is for numbers")
        if (self.kind == "choice") != bool(self.choices):
            raise self._error("choices belong to kind 'choice', which needs at least one")
        try:
            object.__setattr__(self, "default", coerce(self.default, self))
        except (TypeError, ValueError) as fault:
            raise self._error(f"the default is {self.default!r}, but {fault}") from None

    def _check_number(self) -> None:
        for name in ("low", "high"):
            end = getattr(self, name)
            if end is not None and not _is_number(end):
                raise self._error(f"{name} is {end!r}; it must be a finite number or None")
            if end is None and getattr(self, f"{name}_open"):
                raise self._error(f"{name}_open needs {name}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise self._error(f"low is {self.low!r}, above high, {self.high!r}")
        if not isinstance(self.log, bool) and self.log != "complement":
            raise self._error(f"log is {self.log!r}; it must be True, False or 'complement'")
        if self.tune is None:
            if self.log:
                raise self._error("log needs tune")
            return
        pair = tuple(cast("Any", self.tune))
        if len(pair) != 2 or not all(map(_is_number, pair)) or pair[0] >= pair[1]:
            raise self._error(f"tune is {self.tune!r}; it must be (lo, hi) with lo below hi")
        for end in pair:
            try:
                coerce(end, self)
            except ValueError:
                raise self._error(
                    f"tune is {pair!r}, which leaves the valid interval {interval(self)}"
                ) from None
        if self.log is True and pair[0] <= 0:
            raise self._error(f"tune is {pair!r}; a logarithmic scale needs it above 0")
        if self.log == "complement" and pair[1] >= 1:
            raise self._error(f"tune is {pair!r}; a logarithmic scale of 1 - x needs it below 1")
        object.__setattr__(self, "tune", (float(pair[0]), float(pair[1])))

    def _error(self, text: str) -> SpecError:
        return SpecError(f"Hyper {self.name!r}: {text}")


@dataclass(frozen=True, slots=True)
class Option:
    """One choice made at construction that is not a hyperparameter, for example ``hidden_sizes``.

    Attributes:
        name: A Python identifier.
        default: Used if the user gives none. Plain data: None, bool, int, float, str, or tuples and dicts of such.
        help: One sentence.

    Raises:
        SpecError: The name or the default is not allowed.
    """

    name: str
    default: Any = field(hash=False)
    help: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_option_name(self.name, "Option")
        object.__setattr__(self, "default", frozen_data(self.default, f"Option {self.name!r}: default"))


def check_option_name(name: object, what: str) -> None:
    """Refuse names that ``make_agent`` could not pass on.

    Raises:
        SpecError: Not an identifier, or reserved.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise SpecError(f"{what} {name!r}: the name must be a Python identifier")
    if name in RESERVED:
        raise SpecError(f"{what} {name!r}: make_agent has a parameter of that name; choose another")


def frozen_data(value: Any, where: str) -> Any:
    """A deep copy of JSON-like data in which lists are tuples.

    Raises:
        SpecError: Something in it cannot be written as JSON.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"{where} holds {value!r}; numbers must be finite")
        return value
    if isinstance(value, list | tuple):
        return tuple(frozen_data(item, where) for item in cast("list[Any]", value))
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        if not all(isinstance(key, str) for key, _ in items):
            raise SpecError(f"{where} holds a mapping whose keys are not all strings")
        return {key: frozen_data(item, where) for key, item in items}
    raise SpecError(f"{where} holds {type(value).__name__}; it must be plain data that JSON can hold")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
