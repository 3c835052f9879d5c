"""Reasons to let a network grow. All gates of a controller have to agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from optix_core.stats.autocorrelation import lag1_autocorrelation
from optix_core.stats.slope import fit_suffixes
from optix_core.topology import Budget, GateVote, GraphView, GrowthGate, Signals
from optix_neuroevo.mutators.measures import missing_edges


class NotImproving:
    """The newest scores do not rise: their least-squares slope is at most ``z`` standard errors above 0.

    The standard error takes the autocorrelation of the residuals into account (:mod:`optix_core.stats.slope`). Only the
    newest scores are looked at: a fit that still contains the rise of long ago would never call a plateau one.

    Args:
        window: So many of the newest scores, at least 8.
        z: Standard errors.
    """

    def __init__(self, *, window: int = 30, z: float = 2.0) -> None:
        if window < 8:
            raise ValueError(f"window is {window}; a slope needs at least 8 scores")
        self._window, self._z = window, z

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """By the scores alone."""
        del graph, signals
        n = min(self._window, len(scores))
        if n < self._window:
            return GateVote(grow=False, reason=f"{n} scores, {self._window} wanted", numbers={"n": float(n)})
        fit = fit_suffixes(list(scores), (n,))
        slope, error = float(fit.slope[0]), float(fit.slope_se[0])
        still = slope <= self._z * error
        return GateVote(
            grow=still,
            reason=f"the slope of the last {n} scores is {slope:.4g} per window, its standard error {error:.4g}",
            numbers={"n": float(n), "slope": slope, "slope_se": error},
        )


class StructuredResiduals:
    """Scores wander in a way that noise does not: the residuals around their line are autocorrelated.

    ``r1 > z / sqrt(n)``, 1 / sqrt(n) being the standard error of r1 for white noise (Bartlett 1946). Scores that only
    scatter are those of a policy that has stopped changing.

    Args:
        window: So many of the newest scores at most.
        z: Standard errors. With 3, white noise passes about once in a thousand checks.
    """

    def __init__(self, *, window: int = 200, z: float = 3.0) -> None:
        self._window, self._z = window, z

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """By the scores alone."""
        del graph, signals
        y = np.asarray(list(scores)[-self._window :], np.float64)
        n = len(y)
        if n < 8:
            return GateVote(grow=False, reason=f"{n} scores, 8 wanted", numbers={"n": float(n)})
        t = np.arange(n) - 0.5 * (n - 1)
        residuals = y - y.mean() - t * float(t @ y) / float(t @ t)
        r1, limit = lag1_autocorrelation(residuals), self._z / math.sqrt(n)
        return GateVote(
            grow=r1 > limit,
            reason=f"the autocorrelation of {n} scores around their line is {r1:.3f}, the limit {limit:.3f}",
            numbers={"n": float(n), "r1": r1, "limit": limit},
        )


class GradientUtilisation:
    """What is there is in use: most hidden neurons have a gradient that stands out of its noise.

    Args:
        threshold: Smallest share of such neurons, exclusive.
    """

    def __init__(self, *, threshold: float = 0.70) -> None:
        self._threshold = threshold

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """By what the last window showed."""
        del graph, scores
        found = signals.utilisation
        if math.isnan(found):
            return GateVote(grow=False, reason="gradients were not measured")
        return GateVote(
            grow=found > self._threshold,
            reason=f"{found:.2f} of the hidden neurons have a gradient that stands out, {self._threshold:.2f} wanted",
            numbers={"utilisation": found},
        )


class MissingGradient:
    """An edge is missing: the gradient that its weight would have stands far out of its noise.

    Args:
        z: Standard errors. There are many edges that could be, so chance alone reaches 4 among thousands.
        max_delay: Longest delay that counts.
    """

    def __init__(self, *, z: float = 6.0, max_delay: int = 8) -> None:
        self._z, self._budget = z, Budget(max_delay=max_delay)

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """By gradients of edges that do not exist."""
        del scores
        if not signals.edge_gradients:
            return GateVote(grow=False, reason="gradients of missing edges were not measured")
        found = list(missing_edges(graph, signals, self._budget, significance=self._z))
        if not found:
            return GateVote(
                grow=False, reason=f"no missing edge has a gradient of {self._z:g} standard errors"
            )
        best = max(found, key=lambda m: abs(m.gradient))
        return GateVote(
            grow=True,
            reason=f"{len(found)} missing edges have gradients of {self._z:g} standard errors or more; the largest, "
            f"{best.src} to {best.dst} delay {best.delay}, is {best.gradient:+.3g}",
            numbers={"edges": float(len(found)), "gradient": best.gradient},
        )


class AllOf:
    """Several gates as one that opens if all of them do.

    Args:
        gates: By the names under which their numbers are told.
    """

    def __init__(self, **gates: GrowthGate) -> None:
        self._gates = gates

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """Every gate is asked, so that all numbers are told."""
        votes = {name: gate.vote(graph, signals, scores) for name, gate in self._gates.items()}
        return _together(votes, grow=all(v.grow for v in votes.values()), by=" and ")


class AnyOf:
    """Several gates as one that opens if at least one of them does.

    Args:
        gates: By the names under which their numbers are told.
    """

    def __init__(self, **gates: GrowthGate) -> None:
        self._gates = gates

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """Every gate is asked, so that all numbers are told."""
        votes = {name: gate.vote(graph, signals, scores) for name, gate in self._gates.items()}
        return _together(votes, grow=any(v.grow for v in votes.values()), by="; or ")


def lacking(threshold: float = 0.70) -> AnyOf:
    """Whether the network lacks something, by either of two signs.

    Where learning has come to rest, gradients of what exists are zero but for noise, so that alone says nothing: then
    those of edges that do not exist tell (:class:`MissingGradient`). Where scores still wander while most neurons are
    being pulled somewhere (:class:`StructuredResiduals`, :class:`GradientUtilisation`), the network is busy and gets
    nowhere.

    Args:
        threshold: Of :class:`GradientUtilisation`.
    """
    return AnyOf(
        missing_gradient=MissingGradient(),
        busy=AllOf(
            structured_residuals=StructuredResiduals(),
            gradient_utilisation=GradientUtilisation(threshold=threshold),
        ),
    )


def _together(votes: Mapping[str, GateVote], *, grow: bool, by: str) -> GateVote:
    numbers = {f"{name}.{key}": value for name, vote in votes.items() for key, value in vote.numbers.items()}
    numbers |= {f"{name}.grow": float(vote.grow) for name, vote in votes.items()}
    return GateVote(grow=grow, reason=by.join(vote.reason for vote in votes.values()), numbers=numbers)
