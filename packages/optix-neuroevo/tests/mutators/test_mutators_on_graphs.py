"""Do our mutators keep the contract on neuron graphs of every type, with delays, in both of Dale's modes?"""

from __future__ import annotations

import pytest

from optix_neuroevo.specs import MUTATORS
from optix_neuroevo.testing import check_mutator


@pytest.mark.parametrize("name", [spec.name for spec in MUTATORS])
def test_each_keeps_the_contract_on_neuron_graphs(name: str) -> None:
    report = check_mutator(f"optix-neuroevo:{name}")
    assert report.ok, str(report)
