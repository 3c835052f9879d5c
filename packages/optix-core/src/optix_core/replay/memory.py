"""How much memory this process may still use, so that a buffer too large is refused and not killed later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from optix_core.errors import ConfigError

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that can still be allocated without swapping, within every container limit; None where nobody tells.

    Args:
        proc: The process file system (Linux).
        cgroup: Where control groups (version 1 or 2) are mounted.
    """
    known = [room for room in (_machine(proc), *_limits(proc, cgroup)) if room is not None]
    return min(known) if known else None


def require_memory(needed: int, *, fraction: float, what: str, advice: str) -> None:
    """Do nothing if ``needed`` bytes are at most ``fraction`` of what is available (or nobody knows that).

    Raises:
        ConfigError: They are not; the message has the sizes and ``advice``.
    """
    room = available_memory()
    if room is not None and needed > fraction * room:
        raise ConfigError(
            f"{what} would take {_size(needed)}, but {_size(room)} are available to this process and "
            f"memory_fraction={fraction:g} allows {_size(int(fraction * room))} of them. {advice}"
        )


def _size(n: int) -> str:
    value = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def _machine(proc: Path) -> int | None:
    try:
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or hidden: the next source may know
    names = getattr(os, "sysconf_names", {})
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if pages in names and "SC_PAGE_SIZE" in names:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return None


def _limits(proc: Path, cgroup: Path) -> Iterator[int | None]:
    """Room below the limit of every control group that this process is in, up to the root."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = cgroup, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = cgroup / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the path may be that of the host, which is not mounted: its root is the container's.
        group = base / path.strip("/")
        for folder in (group, *group.parents):
            if folder == base or base in folder.parents:
                yield _room(folder, *names)


def _room(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    try:
        allowed = (folder / limit).read_text(encoding="ascii").strip()
        used = int((folder / usage).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None  # this group has no limit, or it cannot be seen from here
    if allowed == "max":
        return None
    cached = [int(line.split()[1]) for line in stat if line.split()[0] == reclaimable]
    return max(0, int(allowed) - used + sum(cached))
