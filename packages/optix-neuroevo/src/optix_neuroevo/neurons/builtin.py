"""The neuron types that come with the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.types import NUMPY, Derivatives, NeuronType

Array = NDArray[Any]


# --- gated recurrent unit, scalar (Cho et al. 2014, arXiv:1406.1078, with z for "take the new value") -----------------

GRU_PARAMETERS = ("wz", "uz", "bz", "wr", "ur", "br", "wn", "un", "bn")


def gru_step(x: Any, state: Any, parameters: Any, maths: Any) -> tuple[Any, tuple[Any]]:
    """``h + z (n - h)`` with ``z = s(wz h + uz x + bz)``, r alike, ``n = tanh(wn r h + un x + bn)``."""
    (h,) = state
    wz, uz, bz, wr, ur, br, wn, un, bn = parameters
    z = maths.sigmoid(wz * h + uz * x + bz)
    r = maths.sigmoid(wr * h + ur * x + br)
    n = maths.tanh(wn * (r * h) + un * x + bn)
    after = h + z * (n - h)
    return after, (after,)


def gru_jacobian(x: Array, state: Any, parameters: Any) -> Derivatives:
    """Derivatives of :func:`gru_step`; state and output are the same number, so they are given once, by h."""
    (h,) = state
    wz, uz, bz, wr, ur, br, wn, un, bn = parameters
    z = NUMPY.sigmoid(wz * h + uz * x + bz)
    r = NUMPY.sigmoid(wr * h + ur * x + br)
    n = np.tanh(wn * (r * h) + un * x + bn)
    by_z = (n - h) * z * (1.0 - z)  # by what is inside each gate
    by_n = z * (1.0 - n * n)
    by_r = by_n * wn * h * r * (1.0 - r)
    dx = by_z * uz + by_r * ur + by_n * un
    dh = (1.0 - z) + by_z * wz + by_r * wr + by_n * wn * r
    dp = (by_z * h, by_z * x, by_z, by_r * h, by_r * x, by_r, by_n * (r * h), by_n * x, by_n)
    return Derivatives(dx, (dh,), (dx,), ((dh,),), dp, (dp,))


def gru_initial(rng: np.random.Generator, n: int) -> Array:
    """Zeros, but ``un`` drawn from N(0, 0.1^2)."""
    values = np.zeros((n, 9))
    values[:, 7] = 0.1 * rng.standard_normal(n)
    return values


# --- long short-term memory, scalar (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000) ------------------

LSTM_PARAMETERS = ("wf", "uf", "bf", "wi", "ui", "bi", "wg", "ug", "bg", "wo", "uo", "bo")


def lstm_step(x: Any, state: Any, parameters: Any, maths: Any) -> tuple[Any, tuple[Any, Any]]:
    """``c' = f c + i g``, ``h' = o tanh(c')``; f, i, o are sigmoids and g a tanh of ``w h + u x + b``."""
    h, c = state
    wf, uf, bf, wi, ui, bi, wg, ug, bg, wo, uo, bo = parameters
    f = maths.sigmoid(wf * h + uf * x + bf)
    i = maths.sigmoid(wi * h + ui * x + bi)
    g = maths.tanh(wg * h + ug * x + bg)
    o = maths.sigmoid(wo * h + uo * x + bo)
    cell = f * c + i * g
    after = o * maths.tanh(cell)
    return after, (after, cell)


def lstm_jacobian(x: Array, state: Any, parameters: Any) -> Derivatives:
    """Derivatives of :func:`lstm_step`."""
    h, c = state
    wf, uf, bf, wi, ui, bi, wg, ug, bg, wo, uo, bo = parameters
    f = NUMPY.sigmoid(wf * h + uf * x + bf)
    i = NUMPY.sigmoid(wi * h + ui * x + bi)
    g = np.tanh(wg * h + ug * x + bg)
    o = NUMPY.sigmoid(wo * h + uo * x + bo)
    shown = np.tanh(f * c + i * g)
    cell_f, cell_i, cell_g = c * f * (1.0 - f), g * i * (1.0 - i), i * (1.0 - g * g)
    by_o = shown * o * (1.0 - o)
    by_cell = o * (1.0 - shown * shown)
    cell_x = cell_f * uf + cell_i * ui + cell_g * ug
    cell_h = cell_f * wf + cell_i * wi + cell_g * wg
    cell_p = (
        cell_f * h, cell_f * x, cell_f, cell_i * h, cell_i * x, cell_i, cell_g * h, cell_g * x, cell_g, 0.0, 0.0, 0.0,
    )  # fmt: skip
    h_x, h_h, h_c = by_cell * cell_x + by_o * uo, by_cell * cell_h + by_o * wo, by_cell * f
    h_p = (*(by_cell * d for d in cell_p[:9]), by_o * h, by_o * x, by_o)
    return Derivatives(h_x, (h_h, h_c), (h_x, cell_x), ((h_h, h_c), (cell_h, f)), h_p, (h_p, cell_p))


def lstm_initial(rng: np.random.Generator, n: int) -> Array:
    """Zeros, but ``ug`` drawn from N(0, 0.1^2), and ``bf`` and ``bo`` one, so that memory lasts and shows."""
    values = np.zeros((n, 12))
    values[:, [2, 11]] = 1.0
    values[:, 7] = 0.1 * rng.standard_normal(n)
    return values


# --- a relay that can become non-linear -------------------------------------------------------------------------------


def morph_step(x: Any, state: Any, parameters: Any, maths: Any) -> tuple[Any, tuple[()]]:
    """``(1 - a) y + a tanh(y)`` with ``y = x + b``: the identity at a = 0, and learning can move a."""
    del state
    a, b = parameters
    y = x + b
    return y + a * (maths.tanh(y) - y), ()


def morph_jacobian(x: Array, state: Any, parameters: Any) -> Derivatives:
    """Derivatives of :func:`morph_step`."""
    del state
    a, b = parameters
    y = x + b
    t = np.tanh(y)
    dx = 1.0 - a * (t * t)
    return Derivatives(dx, (), (), (), (t - y, dx), ())


def morph_initial(rng: np.random.Generator, n: int) -> Array:
    """Zeros: the identity."""
    del rng
    return np.zeros((n, 2))


_GRU: dict[str, Any] = {
    "parameters": GRU_PARAMETERS, "state": ("h",), "step": gru_step, "initial": gru_initial,
    "jacobian": gru_jacobian, "input_parameters": ((1, 2), (4, 5), (7, 8)), "bounded": True,
    "recurrent_export": "gru",
}  # fmt: skip
_LSTM: dict[str, Any] = {
    "parameters": LSTM_PARAMETERS, "state": ("h", "c"), "step": lstm_step, "initial": lstm_initial,
    "jacobian": lstm_jacobian, "input_parameters": ((1, 2), (4, 5), (7, 8), (10, 11)), "bounded": True,
    "recurrent_export": "lstm",
}  # fmt: skip

POINT = NeuronType(name="point", is_recurrent=False)
MORPH = NeuronType(
    name="morph", parameters=("a", "b"), step=morph_step, initial=morph_initial, jacobian=morph_jacobian,
    recurrent_export="morph",
)  # fmt: skip
BUILT_IN = (
    POINT,
    NeuronType(name="gru", **_GRU),
    NeuronType(name="lstm", **_LSTM),
    NeuronType(name="trainable_gru", is_recurrent=True, **_GRU),
    NeuronType(name="trainable_lstm", is_recurrent=True, **_LSTM),
    MORPH,
)


# --- as what plugins are found by: functions that make a type ---------------------------------------------------------


def point() -> NeuronType:
    """An activation of weighted input plus bias."""
    return BUILT_IN[0]


def gru() -> NeuronType:
    """A gated recurrent unit whose state is data to gradients."""
    return BUILT_IN[1]


def lstm() -> NeuronType:
    """A long short-term memory whose state is data to gradients."""
    return BUILT_IN[2]


def trainable_gru() -> NeuronType:
    """A gated recurrent unit through whose state gradients flow."""
    return BUILT_IN[3]


def trainable_lstm() -> NeuronType:
    """A long short-term memory through whose state gradients flow."""
    return BUILT_IN[4]


def morph() -> NeuronType:
    """The identity until learning moves it towards tanh."""
    return BUILT_IN[5]
