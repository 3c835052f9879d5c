"""What does a question about plugins cost? CPU time of the commands that have to be quick, each in a fresh process.

    python3 dev.py bench plugins

Smallest of several runs, since other work on the machine only adds. The budget of ``plugins list`` with all six
distributions is 300 ms. Besides the time, it says whether a framework, numpy or gymnasium was loaded: that is the
exact form of the same question.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 9
HEAVY = (
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "gymnasium",
    "pandas",
    "optuna",
)
COMMANDS = (
    ["--version"],
    ["--help"],
    ["plugins", "list"],
    ["plugins", "list", "--no-import"],
    ["plugins", "info", "optix-torch"],
    ["components"],
)
HOOK = "from optix_core.plugin import hookimpl\nOPTIX_API = '1.0'\n@hookimpl\n"
BROKEN = {
    "optix-import": "import no_such_package",
    "optix-exit": "raise SystemExit(3)",
    "optix-syntax": "def broken(:",
    "optix-none": HOOK + "def optix_agents():\n    pass",
    "optix-typo": HOOK + "def optix_agent():\n    return []",
    "optix-api": "OPTIX_API = '2.0'",
    "optix-silent": "",
}


def cpu_ms(command: list[str], path: str = "") -> float:
    """Smallest CPU time of a command over several runs, in milliseconds."""
    times = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": path})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return 1e3 * min(times)


def loaded(arguments: list[str]) -> list[str]:
    code = (
        "import sys, io, json, contextlib\nfrom optix_core.cli.main import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n    main({arguments!r})\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def install_broken(site: Path) -> None:
    for name, code in BROKEN.items():
        package = name.replace("-", "_")
        (site / package).mkdir()
        (site / package / "__init__.py").write_text("")
        (site / package / "plugin.py").write_text(code + "\n")
        info = site / f"{package}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[optix_core.plugins]\n{name} = {package}.plugin\n")


def main() -> int:
    print(f"{'command':<34}{'CPU ms':>8}  heavy modules")
    print(f"{'python -c pass':<34}{cpu_ms([sys.executable, '-c', 'pass']):>8.0f}")
    over = False
    for arguments in COMMANDS:
        time, heavy = cpu_ms([sys.executable, "-m", "optix_core", *arguments]), loaded(arguments)
        over |= bool(heavy) or (arguments == ["plugins", "list"] and time > 300)
        print(f"{'optix ' + ' '.join(arguments):<34}{time:>8.0f}  {', '.join(heavy) or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        install_broken(Path(folder))
        time = cpu_ms([sys.executable, "-m", "optix_core", "plugins", "list"], folder)
    print(f"{'plugins list, 7 broken ones more':<34}{time:>8.0f}")
    return int(over)


if __name__ == "__main__":
    raise SystemExit(main())
