"""The example that trains on a misbehaving market: nothing is lost, nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_market.py"


@pytest.mark.parametrize("faults", ["0", "5"])
def test_the_example_trains_and_its_books_balance(faults, tmp_path):
    command = [sys.executable, str(EXAMPLE), "--seconds", "2", "--tick", "0.005", "--faults", faults]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing leaked" in done.stdout
    assert "the best policy earns" in done.stdout
