"""A Ray cluster of several nodes on this machine, for tests: its processes are found by its folder, and all end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path

ATTEMPTS = 3
STORE = 80 * 2**20
SETTINGS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
    "prestart_worker_first_driver": False,
}
"""A lost node is noticed within three seconds, not fifteen; and no process is started that nobody asked for."""


class RayCluster:
    """Starts a head without room for actors, and nodes with one CPU each (``cpus``)."""

    def __init__(self, nodes, cpus=1):
        self.cpus = cpus
        self.before, self.handler = dict(os.environ), signal.getsignal(signal.SIGTERM)  # Ray changes both
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        for attempt in range(ATTEMPTS):
            self.folder = tempfile.mkdtemp(prefix="oxtest-")
            try:
                self._start(nodes)
                return
            except Exception:
                self.clean()
                if attempt == ATTEMPTS - 1:
                    self.restore()
                    raise

    def _start(self, nodes):
        from ray._raylet import Config
        from ray.cluster_utils import Cluster

        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_TMPDIR": self.folder}
        Path(self.folder, "ray").mkdir()
        Config.initialize("")
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False,
                "_system_config": SETTINGS,
            },
        )  # fmt: skip
        self.nodes = [self.add() for _ in range(nodes)]

    def add(self):
        return self.cluster.add_node(num_cpus=self.cpus, object_store_memory=STORE)

    def lose(self, node):
        """As when its power fails."""
        self.nodes.remove(node)
        for process in node.all_processes["raylet"]:
            for child in children(process.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)

    def silence(self, node):
        """As when its cable is pulled: nothing closes, nothing answers."""
        for process in node.all_processes["raylet"]:
            for pid in [process.process.pid, *children(process.process.pid)]:
                os.kill(pid, signal.SIGSTOP)

    @property
    def address(self):
        return self.cluster.address

    def close(self):
        import ray

        if ray.is_initialized():
            ray.shutdown()
        with contextlib.suppress(Exception):
            self.cluster.shutdown()
        self.clean()
        self.restore()

    def clean(self):
        until = time.monotonic() + 10
        while (left := inside(self.folder)) and time.monotonic() < until:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def restore(self):
        for name in set(os.environ) - set(self.before):
            del os.environ[name]
        os.environ.update(self.before)
        signal.signal(signal.SIGTERM, self.handler)


def inside(folder):
    """Processes that name the folder on their command line, this one aside."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with contextlib.suppress(OSError):
                if folder.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
    return found


def children(pid):
    """All processes below one."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def node_of(pid, cluster):
    """The node below whose raylet a process runs."""
    for node in cluster.nodes:
        for process in node.all_processes.get("raylet", []):
            if pid in children(process.process.pid):
                return node
    return None
