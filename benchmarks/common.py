"""What the benchmarks share: which machine this is, how children are run, and the statistics of few seeds.

Standard library and numpy only, and no optix: scripts of the peers' environment import it too.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SHOWN = (
    "numpy",
    "gymnasium",
    "torch",
    "optix-core",
    "optix-torch",
    "jax",
    "tensorflow",
    "optix-jax",
    "optix-tf",
    "stable-baselines3",
    "sb3-contrib",
    "sbx-rl",
    "tensor-optix",
    "box2d",
)


def machine():
    """Processor, cores, memory and system, without anything that tells whose it is."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions():
    """Python and the packages that matter here, as far as they are installed in this environment."""
    found = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def child(python, script, argument=None, *, timeout=None):
    """Run one process on one thread; its last line of output is a JSON document, which is returned.

    Raises:
        ChildFailed: It ended otherwise; the message has the end of its standard error.
    """
    command = [str(python), str(script)]
    if argument is not None:
        command.append(json.dumps(argument))
    done = subprocess.run(
        command,
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if done.returncode:
        raise ChildFailed(f"{Path(script).parent.name}/{Path(script).name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class ChildFailed(Exception):
    """A process of a benchmark ended with an error."""


def peak_memory_mib():
    """Largest resident set of this process so far, in MiB."""
    try:
        # not ru_maxrss, which on Linux begins with what the parent had when this process was started
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        pass
    import resource

    unit = 2**20 if platform.system() == "Darwin" else 2**10  # macOS counts in bytes, others in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def iqm(values):
    """Interquartile mean: the mean without the lowest and the highest quarter (rounded down) of the values.

    Agarwal et al. 2021, arXiv:2108.13264. ``values`` is ``[..., n]``; the last axis is averaged.
    """
    import numpy as np

    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(returns, *, confidence=0.95, resamples=5_000, seed=0):
    """Interval of the interquartile mean over seeds: seeds are drawn anew, and episodes anew within each seed.

    Args:
        returns: One sequence of episode returns per seed.
        confidence: Share of resamples between the ends.
        resamples: How many.
        seed: Of the resampling, so that a report can be made again.

    Returns:
        ``(low, high)``. One seed alone says nothing about others: its interval is about its episodes.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    runs = [np.asarray(run, dtype=np.float64) for run in returns]
    means = np.stack(
        [run[rng.integers(len(run), size=(resamples, len(run)))].mean(axis=1) for run in runs], axis=1
    )
    chosen = rng.integers(len(runs), size=(resamples, len(runs)))
    # a seed that is drawn twice keeps one set of episodes: what varies between seeds must not be averaged away
    values = iqm(np.take_along_axis(means, chosen, axis=1))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def write_json(path, document):
    """Write in one step, so that a run that is stopped leaves no half of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    half.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
