"""Writing a trained policy to a file that has been compared with the agent before it gets its name."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core._version import __version__
from optix_core.errors import ConfigError
from optix_core.export.archive import PolicyArchive, inputs_of, write_whole
from optix_core.export.graph import PolicyGraph

TOLERANCE = 1e-5
CONVOLUTION_TOLERANCE = 1e-4
"""With convolutions: float32 sums of thousands of products depend on their order by more than 1e-5."""

OBSERVATIONS = 1024
BATCH_SIZES = (1, 7, 1016)
_SEED = 20_240_101  # observations to compare on; nothing of a run is drawn from it

Values = Mapping[str, NDArray[Any]]
Run = Callable[[dict[str, NDArray[Any]]], Values]


@dataclass(frozen=True, slots=True)
class Verification:
    """What the comparison of a file with its agent found.

    Attributes:
        observations: How many were compared, in batches of 1, 7 and the rest; of a recurrent policy in sequences.
        largest_difference: Of actions (relative to the largest magnitude beyond 1) and of what they are chosen by.
        ties: Discrete choices that differ where the two best were equal within the tolerance.
    """

    observations: int
    largest_difference: float
    ties: int


def export_numpy(agent: Any, path: str | Path, *, action_mask: bool = False) -> Verification:
    """Write a policy that :class:`~optix_core.export.PolicyArchive` runs with numpy alone.

    Args:
        agent: Whose policy it is.
        path: The file.
        action_mask: Let the file take masks, as environments give them in ``info["action_mask"]``.

    Raises:
        ConfigError: The agent cannot describe its policy, or the file does not do what the agent does; nothing is
            written then.
    """
    graph = graph_of(agent, action_mask=action_mask)
    target = _checked(path)
    with tempfile.TemporaryDirectory(prefix="optix-export-") as folder:
        draft = Path(folder) / "policy.safetensors"
        PolicyArchive(graph).save(draft)
        read_back = PolicyArchive.load(draft)
        found = verify(agent, graph, lambda inputs: _run_archive(read_back, inputs), what=str(target))
        data = draft.read_bytes()
    write_whole(target, data)
    _write_sidecar(target, data, graph, found, "numpy")
    return found


def export_onnx(agent: Any, path: str | Path, *, action_mask: bool = False) -> Verification:
    """Write a policy as ONNX (opset 17, free batch axis): normaliser, network, memory and action scaling in one graph.

    Args:
        agent: Whose policy it is.
        path: The file.
        action_mask: Give the graph an input for masks, as environments give them in ``info["action_mask"]``.

    Raises:
        ConfigError: onnx or onnxruntime is missing, the agent cannot describe its policy, or onnxruntime does not give
            the agent's actions; nothing is written then.
    """
    from optix_core.export.onnx_ops import to_onnx

    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise ConfigError(
            "ONNX export compares the file with the agent before it is written, for which onnxruntime is missing: "
            "pip install 'optix-core[onnx]'",
            code="E-NO-ONNX",
        ) from error
    graph = graph_of(agent, action_mask=action_mask)
    target = _checked(path)
    data = cast("bytes", to_onnx(graph).SerializeToString())
    runtime: Any = onnxruntime
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = list(graph.outputs)

    def run(inputs: dict[str, NDArray[Any]]) -> Values:
        wanted = {i.name: inputs[i.name] for i in graph.inputs}
        return dict(zip(names, session.run(names, wanted), strict=True))

    found = verify(agent, graph, run, what=str(target))
    write_whole(target, data)
    _write_sidecar(target, data, graph, found, "onnx")
    return found


def graph_of(agent: Any, *, action_mask: bool = False) -> PolicyGraph:
    """The agent's greedy policy as a graph, with an input for action masks if asked for.

    Raises:
        ConfigError: It has no ``policy_graph``.
    """
    describe = getattr(agent, "policy_graph", None)
    if not callable(describe):
        raise ConfigError(
            f"{type(agent).__name__} cannot be exported: it has no policy_graph(), which describes the policy without "
            "its framework (optix_core.export.GraphBuilder helps to write one)"
        )
    return cast("PolicyGraph", describe(action_mask=True) if action_mask else describe())


def verify(agent: Any, graph: PolicyGraph, run: Run, *, what: str) -> Verification:
    """Compare ``run`` with the agent's own greedy actions on drawn observations.

    A recurrent policy is run over sequences that start from an empty memory and forget now and then.

    Args:
        agent: Whose policy it is.
        graph: Its description.
        run: Inputs by name to outputs by name.
        what: For messages.

    Raises:
        ConfigError: They differ by more than :func:`tolerance_of` allows.
    """
    rng = np.random.default_rng(_SEED)
    tolerance = tolerance_of(graph)
    largest, ties, seen = 0.0, 0, 0
    for n in BATCH_SIZES:
        memory = np.zeros((n, graph.memory_size), np.float32)
        theirs = np.zeros((n, int(getattr(agent, "memory_size", 0))), np.float32)
        steps = 16 if graph.memory_size and n < 100 else 1
        for _ in range(steps):
            inputs = draw_inputs(graph, n, rng)
            if graph.memory_size:
                forget = rng.random(n) < 0.1
                memory[forget], theirs[forget] = 0.0, 0.0
                inputs["memory"] = memory
            values = run(inputs)
            expected, theirs = _agents_actions(agent, graph, inputs, theirs)
            difference, tied = _compare(values, expected, tolerance)
            largest, ties, seen = max(largest, difference), ties + tied, seen + n
            memory = np.asarray(values.get("next_memory", memory))
    if not largest <= tolerance:
        raise ConfigError(
            f"{what} was not written: its actions differ from the agent's by {largest:.3g} (allowed: {tolerance:g}) on "
            f"{seen} observations. This is a defect of the export or of the agent's policy_graph(); please report it.",
            code="E-EXPORT-DIFFERS",
        )
    return Verification(seen, largest, ties)


def tolerance_of(graph: PolicyGraph) -> float:
    """How far actions may be apart."""
    convolves = any(node.op == "conv2d" for node in graph.nodes)
    return CONVOLUTION_TOLERANCE if convolves else TOLERANCE


def draw_inputs(graph: PolicyGraph, n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Observations ``[n, ...]`` by name: normal numbers of many magnitudes, or integers in range."""
    ranges = cast("Mapping[str, Any]", graph.info.get("ranges", {}))
    drawn: dict[str, NDArray[Any]] = {}
    for wanted in graph.inputs:
        shape, dtype = (n, *wanted.shape), np.dtype(wanted.dtype)
        if wanted.name == "memory":
            continue
        if wanted.name == "action_mask":
            allowed = rng.random(shape) < 0.7
            drawn[wanted.name] = allowed | ~allowed.any(axis=1, keepdims=True)
        elif dtype.kind == "f":
            magnitudes = np.exp(rng.uniform(-3.0, 1.5, (n, *(1 for _ in wanted.shape))))
            drawn[wanted.name] = (rng.standard_normal(shape) * magnitudes).astype(dtype)
        else:
            low, high = ranges.get(wanted.name, (0, 255 if dtype == np.uint8 else 1))
            drawn[wanted.name] = rng.integers(low, np.asarray(high) + 1, shape).astype(dtype)
    return drawn


def _agents_actions(
    agent: Any, graph: PolicyGraph, inputs: dict[str, NDArray[Any]], memory: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    observations = _observations(agent, inputs)
    if graph.memory_size:
        chosen, memory = agent.act_batch_with_memory(observations, memory, deterministic=True)
    else:
        chosen = agent.act_batch(observations, deterministic=True)
    return np.asarray(agent.env_actions(chosen)), memory


def _observations(agent: Any, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The inputs as the agent's pipeline would give them: records where there are parts or masks."""
    from optix_core.rl.masking import with_masks

    parts = {name: array for name, array in inputs.items() if name not in {"memory", "action_mask"}}
    if list(parts) == ["observation"]:
        packed = parts["observation"]
    else:
        dtype = agent.observation_dtype
        packed = np.zeros(len(next(iter(parts.values()))), dtype)
        for name, array in parts.items():
            place: Any = packed
            for key in name.split("."):
                place = place[key]
            place[...] = array
    return with_masks(packed, inputs["action_mask"]) if "action_mask" in inputs else packed


def _compare(values: Values, expected: NDArray[Any], tolerance: float) -> tuple[float, int]:
    """The largest difference of actions, and the number of discrete choices that differ only by a tie."""
    action = np.asarray(values["action"])
    if action.shape != expected.shape:
        return float("inf"), 0
    if expected.dtype.kind == "f":
        magnitude = max(1.0, float(np.abs(expected).max(initial=0.0)))
        return float(np.abs(action.astype(np.float64) - expected).max(initial=0.0)) / magnitude, 0
    wrong = np.flatnonzero((action != expected).reshape(len(action), -1).any(axis=1))
    preferences = next((values[n] for n in ("logits", "q_values") if n in values), None)
    if not len(wrong):
        return 0.0, 0
    if preferences is None:
        return float("inf"), 0
    scale = np.maximum(1.0, np.abs(np.where(np.isfinite(preferences), preferences, 0.0)).max(axis=1))
    best = np.sort(preferences[wrong], axis=1)
    tied = best[:, -1] - best[:, -2] <= tolerance * scale[wrong]
    return (0.0 if bool(tied.all()) else float("inf")), int(tied.sum())


def _run_archive(archive: PolicyArchive, inputs: dict[str, NDArray[Any]]) -> Values:
    memory = inputs.get("memory")
    return archive.values({k: v for k, v in inputs.items() if k != "memory"}, memory=memory)


def _checked(path: str | Path) -> Path:
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise ConfigError(
            f"cannot export to {target}: "
            + ("it is a directory" if target.is_dir() else f"there is no directory {target.parent}")
        )
    return target


def _write_sidecar(target: Path, data: bytes, graph: PolicyGraph, found: Verification, kind: str) -> None:
    """``<file>.json``: what the file takes and gives, where it came from, and what the comparison found."""
    document = {
        "format": kind,
        "file": target.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "inputs": [{"name": i.name, "dtype": i.dtype, "shape": ["N", *i.shape]} for i in graph.inputs],
        "outputs": list(graph.outputs),
        "action": {"dtype": graph.action_dtype, "shape": ["N", *graph.action_shape]},
        "memory_size": graph.memory_size,
        "info": dict(graph.info),
        "verification": asdict(found) | {"tolerance": tolerance_of(graph)},
        "optix_core": __version__,
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_whole(target.with_name(f"{target.name}.json"), text.encode())


__all__ = [
    "OBSERVATIONS",
    "Verification",
    "export_numpy",
    "export_onnx",
    "graph_of",
    "inputs_of",
    "verify",
]
