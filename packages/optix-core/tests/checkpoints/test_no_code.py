"""Loading a checkpoint runs nothing, opens nothing for writing and looks nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from optix_core.checkpoints import CheckpointStore

PROGRAM = """
import os, sys
from pathlib import Path
from optix_core.checkpoints import CheckpointStore
warm, target = Path(sys.argv[1]), Path(sys.argv[2])
CheckpointStore(warm).load()  # everything is imported now
store = CheckpointStore(target)
events = []
FORBIDDEN = ("import", "exec", "compile", "pickle.find_class", "marshal.loads", "os.system", "subprocess.Popen",
             "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "ctypes.dlopen", "shutil.rmtree", "os.remove",
             "os.rename", "os.rmdir", "os.mkdir")
watching = True
def hook(name, args):
    if not watching:
        return
    if name in FORBIDDEN:
        events.append((name, str(args)[:200]))
    if name == "open":
        path, mode, flags = args
        if not str(path).startswith(str(target)) or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
            events.append((name, str(args)[:200]))
sys.addaudithook(hook)
store.load()
store.verify()
store.best()
watching = False
print(events)
"""


def test_loading_under_an_audit_hook(tmp_path: Path) -> None:
    import numpy as np

    for name in ("warm", "target"):
        state = {
            "agent": {"weights": {"w": np.zeros(3)}, "$eval": "print(1)", "c": np.array([1j])},
            "loop": {"x": [1]},
        }
        CheckpointStore(tmp_path / name).save(state, step=1, score=1.0)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "warm"), str(tmp_path / "target")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stdout + result.stderr


def test_the_package_names_no_unpickler() -> None:
    import ast

    import optix_core.checkpoints
    import optix_core.runs

    banned = {
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
        "yaml",
        "eval",
        "exec",
        "compile",
        "__import__",
    }
    for package in (optix_core.checkpoints, optix_core.runs):
        for file in Path(str(package.__file__)).parent.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
                if isinstance(node, ast.ImportFrom):
                    names = {str(node.module)}
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    names = {node.func.id}
                assert not names & banned, (file.name, names)
