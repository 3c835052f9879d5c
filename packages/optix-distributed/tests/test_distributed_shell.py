"""Is optix-distributed an honest shell: installed, found by its entry point, registering nothing, and saying so?"""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import distribution

FRAMEWORKS = ("torch", "tensorflow", "jax", "flax", "optax", "keras")


def test_the_entry_point_names_the_plugin_module() -> None:
    points = distribution("optix-distributed").entry_points.select(group="optix_core.plugins")
    assert [(point.name, point.value) for point in points] == [
        ("optix-distributed", "optix_distributed.plugin")
    ]


def test_the_plugin_module_registers_nothing_and_says_so() -> None:
    module = importlib.import_module("optix_distributed.plugin")
    assert module.OPTIX_API == "1.0"
    assert [name for name in vars(module) if name.startswith("optix_")] == []
    assert "not built yet" in (module.__doc__ or "")
    assert "not built yet" in (importlib.import_module("optix_distributed").__doc__ or "")
    assert "not built yet" in distribution("optix-distributed").metadata["Summary"]


def test_no_framework_is_required_or_imported() -> None:
    requires = distribution("optix-distributed").requires or []
    assert [r for r in requires if "extra ==" not in r] == ["optix-core<1,>=0.1"]
    code = (
        "import sys, optix_distributed, optix_distributed.plugin;"
        f"print([n for n in {FRAMEWORKS!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
