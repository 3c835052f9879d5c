"""Finding out before the first step, not after the first hour, that a directory cannot hold a run."""

from __future__ import annotations

import secrets
from pathlib import Path

from optix_core.checkpoints.commit import TEMPORARY
from optix_core.checkpoints.filesystem import FileSystem, write_file
from optix_core.errors import CheckpointError

CHECKPOINTS_OF_SPACE = 3
LEAST_FREE_BYTES = 2**20


def preflight(fs: FileSystem, run_dir: Path, expected_bytes: int = 0, shared_bytes: int = 0) -> None:
    """Try everything that a save does.

    Args:
        fs: System calls.
        run_dir: Existing directory whose lock the caller holds, so locking works.
        expected_bytes: Size of one checkpoint without its segments, as far as it is known.
        shared_bytes: Size of the segments that checkpoints share.

    Raises:
        CheckpointError: Creating, syncing, renaming or removing does not work there, or the space does not
            suffice for three checkpoints and one set of segments.
    """
    trial = run_dir / f"{TEMPORARY}{secrets.token_hex(8)}"
    renamed = run_dir / f"{TEMPORARY}{secrets.token_hex(8)}"
    doing = "make a directory"
    try:
        fs.mkdir(trial)
        doing = "write and sync a file"
        write_file(fs, trial / "probe", b"optix")
        doing = "sync a directory"
        fs.sync_directory(trial)
        doing = "rename a directory"
        fs.rename(trial, renamed)
        fs.sync_directory(run_dir)
        doing = "remove a file"
        fs.unlink(renamed / "probe")
        fs.rmdir(renamed)
        doing = "find out the free space"
        free = fs.free_bytes(run_dir)
    except OSError as error:
        raise CheckpointError(
            f"{run_dir} cannot hold a run: to {doing} there fails with: {error.strerror or error}. Choose a "
            "writable directory on a local disk. Nothing has been trained yet.",
            code="E-CKPT-UNWRITABLE",
        ) from error
    needed = max(CHECKPOINTS_OF_SPACE * expected_bytes + shared_bytes, LEAST_FREE_BYTES)
    shared = " with one set of segments" if shared_bytes else ""
    if free < needed:
        raise CheckpointError(
            f"{run_dir} has {free:,} bytes free; {CHECKPOINTS_OF_SPACE} checkpoints{shared} need {needed:,}. Free "
            "some space or choose another directory. Nothing has been trained yet.",
            code="E-CKPT-NO-SPACE",
        )
