"""V-trace in PyTorch gives core's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from optix_core.rl import vtrace as core
from optix_distributed import compute_vtrace_targets
from optix_distributed.learning.vtrace_torch import vtrace

RECORDED = Path(__file__).parents[2] / "optix-core" / "tests" / "rl" / "data" / "vtrace.json"
CASES = json.loads(RECORDED.read_text(encoding="utf-8"))["cases"]
NAMES = ("vs", "advantages", "rhos", "deltas")


def tensors(case, dtype):
    flags = ("terminated", "truncated")
    return {k: torch.tensor(v, dtype=torch.bool if k in flags else dtype) for k, v in case["steps"].items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_recorded_numbers(name, dtype, close):
    case = CASES[name]
    found = vtrace(**tensors(case, dtype), **case["hyperparameters"])
    for key, value in zip(NAMES, found, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value.numpy(), case["expected"][key], rtol=close, atol=close)


@pytest.mark.parametrize("name", list(CASES)[:3])
def test_results_are_constants(name):
    inputs = tensors(CASES[name], torch.float64)
    inputs["target_log_probs"].requires_grad_()
    inputs["values"].requires_grad_()
    assert not any(x.requires_grad for x in vtrace(**inputs, gamma=0.9))


def test_nothing_of_a_terminal_successor_matters():
    inputs = tensors(CASES["hand_term1"], torch.float64)
    inputs["next_values"][1] = torch.nan
    assert torch.isfinite(vtrace(**inputs, gamma=0.5)[0]).all()


def test_wrong_shapes_and_numbers_are_refused():
    inputs = tensors(CASES["hand_none"], torch.float64)
    with pytest.raises(ValueError, match="one shape"):
        vtrace(**{**inputs, "values": torch.zeros(3)}, gamma=0.5)
    with pytest.raises(ValueError, match="gamma"):
        vtrace(**inputs, gamma=1.5)


def test_the_contract_name_is_core_s():
    assert compute_vtrace_targets is core.compute_vtrace_targets
