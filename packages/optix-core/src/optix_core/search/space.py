"""Which hyperparameters a search varies, and how each is spread.

A space is a mapping of names to tuples:

* ``("float", lo, hi)`` and ``("int", lo, hi)``: evenly between both ends, which belong to it
* ``("log_float", lo, hi)`` and ``("log_int", lo, hi)``: evenly in the logarithm, ``lo > 0``
* ``("log_complement", lo, hi)``: evenly in ``log(1 - x)``, ``hi < 1``; for discounts, where .9 to .99 is as far as
  .99 to .999
* ``("categorical", value, ...)``: any of the values
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from optix_core.errors import ConfigError
from optix_core.tuners.space import COMPLEMENT_PREFIX, as_number

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.plugins.hyper import Hyper

Choice = bool | int | float | str | None
FORMS = {
    "float": '("float", lo, hi)',
    "log_float": '("log_float", lo, hi)',
    "log_complement": '("log_complement", lo, hi)',
    "int": '("int", lo, hi)',
    "log_int": '("log_int", lo, hi)',
    "categorical": '("categorical", value, ...)',
}


class Suggesting(Protocol):
    """What this module needs of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in ``[low, high]``."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number in ``[low, high]``."""
        ...

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of ``choices``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One hyperparameter of a search.

    Attributes:
        name: What the agent's factory calls it.
        kind: One of the forms above.
        low: Smallest value; NaN for a categorical one.
        high: Largest value; NaN for a categorical one.
        choices: Values of a categorical one.

    Raises:
        ConfigError: The kind is unknown, or the range is empty or does not suit it.
    """

    name: str
    kind: str
    low: float = math.nan
    high: float = math.nan
    choices: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in FORMS:
            from optix_core.plugins.hints import did_you_mean

            raise self._error(f"{self.kind!r} is no kind.{did_you_mean(self.kind, FORMS)}")
        if self.kind == "categorical":
            self._check_choices()
        else:
            self._check_range()

    def _check_choices(self) -> None:
        if not self.choices:
            raise self._error("a categorical needs at least one value")
        odd = [c for c in self.choices if not (c is None or isinstance(c, bool | int | float | str))]  # pyright: ignore[reportUnnecessaryIsInstance]
        if odd:
            raise self._error(
                f"the value {odd[0]!r} is not plain: use numbers, texts, true or false, or None"
            )
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise self._error("a value occurs twice")

    def _check_range(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise self._error(f"({self.low}, {self.high}) is no range of two finite numbers with lo < hi")
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise self._error(f"({self.low}, {self.high}) must be whole numbers")
        if self.kind in {"log_float", "log_int"} and self.low <= 0:
            raise self._error(f"a logarithmic scale needs lo > 0, and lo is {self.low}")
        if self.kind == "log_complement" and self.high >= 1:
            raise self._error(f"log(1 - x) needs hi < 1, and hi is {self.high}")

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f"param_space[{self.name!r}]: {text}. Forms: {', '.join(FORMS.values())}")

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind in {"int", "log_int"}

    @property
    def form(self) -> tuple[Any, ...]:
        """The tuple that describes it."""
        if self.kind == "categorical":
            return (self.kind, *self.choices)
        return (
            (self.kind, int(self.low), int(self.high)) if self.integer else (self.kind, self.low, self.high)
        )

    @property
    def label(self) -> str:
        """Its name inside the study."""
        return COMPLEMENT_PREFIX + self.name if self.kind == "log_complement" else self.name

    def suggest(self, trial: Suggesting) -> Any:
        """A value from ``trial``."""
        if self.kind == "categorical":
            return trial.suggest_categorical(self.label, list(self.choices))
        log = self.kind.startswith("log")
        if self.integer:
            return trial.suggest_int(self.label, int(self.low), int(self.high), log=log)
        if self.kind == "log_complement":
            return self.decoded(trial.suggest_float(self.label, 1.0 - self.high, 1.0 - self.low, log=True))
        return trial.suggest_float(self.label, self.low, self.high, log=log)

    def decoded(self, stored: Any) -> Any:
        """The value that ``stored`` in the study stands for."""
        if self.kind != "log_complement":
            return stored
        return min(max(1.0 - float(stored), self.low), self.high)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All hyperparameters of a search, in order."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def parse(cls, space: Mapping[str, Any]) -> SearchSpace:
        """A checked space from a mapping of names to tuples.

        Raises:
            ConfigError: It is empty, or an entry is not of one of the forms.
        """
        entries = cast("dict[Any, Any]", dict(space))
        if not entries:
            raise ConfigError("param_space is empty; name at least one hyperparameter, or leave it out")
        return cls(tuple(_dimension(name, entry) for name, entry in entries.items()))

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def forms(self) -> dict[str, tuple[Any, ...]]:
        """The mapping that :meth:`parse` takes."""
        return {d.name: d.form for d in self.dimensions}

    def suggest(self, trial: Suggesting) -> dict[str, Any]:
        """A value for every name."""
        return {d.name: d.suggest(trial) for d in self.dimensions}

    def decoded(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Values by name from what a study keeps; names that it has no value for are left out."""
        return {d.name: d.decoded(stored[d.label]) for d in self.dimensions if d.label in stored}

    def subset(self, names: Sequence[str]) -> SearchSpace:
        """Only these names.

        Raises:
            ConfigError: One of them is not in the space.
        """
        known = {d.name: d for d in self.dimensions}
        for name in names:
            if name not in known:
                from optix_core.plugins.hints import did_you_mean

                raise ConfigError(
                    f"there is no declared range for {name!r}.{did_you_mean(name, known)} Declared are: "
                    f"{', '.join(known) or 'none'}. Give one: {name}=log_float:1e-4:1e-2"
                )
        return SearchSpace(tuple(known[name] for name in names))


def declared_space(agent: BaseAgent) -> SearchSpace:
    """What ``agent`` declares as worth tuning, also what is fixed once it is built.

    Ranges come from its plugin's declarations where it was made from one, else from ``default_param_bounds`` and
    ``default_log_params`` of its class. A parameter whose present value is a whole number stays one.

    Raises:
        ConfigError: It declares nothing.
    """
    cls = type(agent)
    bounds = dict(agent.default_param_bounds or cls.default_param_bounds)
    logarithmic = set(agent.default_log_params)
    values = agent.get_hyperparams().params
    integers = {name for name, value in values.items() if isinstance(as_number(value), int)}
    hypers = _declared_by_plugin(agent)
    if hypers:
        declared_bounds, declared_logs = bounds_of(hypers)
        bounds, logarithmic = {**bounds, **declared_bounds}, logarithmic | declared_logs
        integers |= {h.name for h in hypers if h.kind == "int"}
    if not bounds:
        raise ConfigError(
            f"{cls.__name__} declares no tuning ranges (default_param_bounds is empty), so there is nothing to search. "
            'Pass param_space, for example {"learning_rate": ("log_float", 1e-4, 1e-2)}.'
        )
    return from_bounds(bounds, logarithmic, integers)


def from_bounds(
    bounds: Mapping[str, tuple[float, float]], logarithmic: set[str], integers: set[str]
) -> SearchSpace:
    """A space from tuning ranges; ``"1-name"`` among the logarithmic names means ``log(1 - name)``.

    Raises:
        ConfigError: A range does not suit its scale.
    """
    found: list[Dimension] = []
    for name, (low, high) in bounds.items():
        kind = "int" if name in integers else "float"
        if name in logarithmic:
            kind = f"log_{kind}"
        elif COMPLEMENT_PREFIX + name in logarithmic and kind == "float":
            kind = "log_complement"
        ends = (math.ceil(low), math.floor(high)) if name in integers else (low, high)
        found.append(Dimension(name=name, kind=kind, low=ends[0], high=ends[1]))
    return SearchSpace(tuple(found))


def bounds_of(hypers: Sequence[Hyper]) -> tuple[dict[str, tuple[float, float]], set[str]]:
    """Ranges and logarithmic names of declarations, for a search over whole runs."""
    from optix_core.hyperparams import bounds, log_params

    return bounds(hypers, live_only=False), set(log_params(hypers))


def _declared_by_plugin(agent: BaseAgent) -> tuple[Hyper, ...]:
    from optix_core.factory import spec_info_of

    info = spec_info_of(agent)
    if info is None:
        return ()
    from optix_core.plugins.registry import default_registry

    return tuple(default_registry().spec_for(info).spec.hyperparams)


def _dimension(name: Any, entry: Any) -> Dimension:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"param_space: {name!r} is no name of a hyperparameter")
    if isinstance(entry, Dimension):
        return entry
    if not isinstance(entry, tuple | list) or not entry or not isinstance(entry[0], str):
        raise ConfigError(
            f"param_space[{name!r}] is {entry!r}; it must be one of {', '.join(FORMS.values())}"
        )
    kind, *rest = cast("list[Any]", list(entry))  # pyright: ignore[reportUnknownArgumentType]
    if kind == "categorical":
        return Dimension(name=name, kind=kind, choices=tuple(rest))
    ends = [as_number(value) for value in rest]
    if kind in FORMS and (len(rest) != 2 or None in ends):
        raise ConfigError(
            f"param_space[{name!r}] is {entry!r}; it must read {FORMS[kind]} with two finite numbers"
        )
    low, high = (math.nan if end is None else end for end in (*ends, None, None)[:2])
    return Dimension(name=name, kind=kind, low=low, high=high)
