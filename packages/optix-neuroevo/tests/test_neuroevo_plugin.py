"""Is optix-neuroevo found by its entry point, does it register what it says, and is it light until it is used?"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution

from optix_core.plugins.registry import default_registry
from optix_core.testing.components import check_component
from optix_neuroevo import specs

FRAMEWORKS = ("torch", "tensorflow", "jax", "flax", "optax", "keras")


def test_the_entry_point_names_the_plugin_module() -> None:
    points = distribution("optix-neuroevo").entry_points.select(group="optix_core.plugins")
    assert [(point.name, point.value) for point in points] == [("optix-neuroevo", "optix_neuroevo.plugin")]


def test_mutators_are_registered_through_the_hook_of_third_parties() -> None:
    found = default_registry().topology_mutators()
    ours = [c.spec.name for c in found if c.record.name == "optix-neuroevo"]
    assert ours == [spec.name for spec in specs.MUTATORS]


def test_a_registered_mutator_passes_the_kit_by_name() -> None:
    report = check_component("topology_mutator", "optix-neuroevo:rigl")
    assert report is not None
    assert report.ok, str(report)


def test_no_framework_is_imported_by_the_package_or_its_plugin_module() -> None:
    code = (
        "import sys, optix_neuroevo, optix_neuroevo.plugin;"
        f"print([n for n in {FRAMEWORKS!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
