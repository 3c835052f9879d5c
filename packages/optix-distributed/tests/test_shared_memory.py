"""Shared memory: nothing overlaps, nothing tears, nothing is left; and a writer without the guard does tear."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import names

from optix_core.errors import ConfigError
from optix_distributed.shared import region as region_module
from optix_distributed.shared.plan import MemoryPlan, SharedState
from optix_distributed.shared.region import SharedRegion
from optix_distributed.shared.weights import WeightBuffers

PLAN = MemoryPlan(
    n_actors=2, slots_per_actor=2, steps=5, envs_per_actor=3, obs_shape=(4,), obs_dtype=np.dtype("f4"),
    action_shape=(), action_dtype=np.dtype("i8"), memory_size=6, weight_bytes=1000,
)  # fmt: skip

WRITER = """
import sys, time
import numpy as np
from optix_distributed.shared.region import SharedRegion
from optix_distributed.shared.weights import WeightBuffers
fd, total, nbytes = map(int, sys.argv[1:4])
guarded, seconds = sys.argv[4] == "1", float(sys.argv[5])
region = SharedRegion(fd, total)
buffers = WeightBuffers(region, 0, nbytes, verify=sys.argv[6] == "1")
values = np.empty(nbytes // 8)
end, v = time.monotonic() + seconds, 0
print("go", flush=True)
while time.monotonic() < end:
    values[:] = v
    if guarded:
        buffers.publish(values.view(np.uint8), v)
    else:
        buffers._data[0][:] = values.view(np.uint8)
    v += 1
print(v)
"""


def race(nbytes, *, guarded, seconds=1.0, verify=False):
    """A writer at full speed; returns reads, torn reads, and versions that were not what they said."""
    from optix_distributed.shared.region import Layout

    layout = Layout()
    WeightBuffers.reserve(layout, nbytes)
    region = SharedRegion.create(layout.nbytes)
    buffers = WeightBuffers(region, 0, nbytes, verify=verify)
    buffers.clear()
    os.set_inheritable(region.fd, True)
    args = [
        str(region.fd),
        str(layout.nbytes),
        str(nbytes),
        str(int(guarded)),
        str(seconds),
        str(int(verify)),
    ]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, *args], pass_fds=[region.fd], stdout=subprocess.PIPE, text=True
    )
    try:
        writer.stdout.readline()
        out = np.zeros(nbytes, np.uint8)
        reads = torn = wrong = 0
        while writer.poll() is None:
            if guarded:
                version = buffers.fetch(out)
                if version is None:
                    continue
            else:
                out[:] = buffers._data[0]
                version = None
            reads += 1
            values = out.view(np.float64)
            torn += bool((values != values[0]).any())
            wrong += version is not None and values[0] != version
        return reads, torn, wrong
    finally:
        writer.kill()
        writer.communicate()
        del buffers
        region.close()


@pytest.mark.parametrize("nbytes", [1_024, 1_200_000])
def test_no_read_is_torn(nbytes):
    reads, torn, wrong = race(nbytes, guarded=True)
    assert reads > 20
    assert (torn, wrong) == (0, 0)


def test_with_checksums_neither():
    reads, torn, wrong = race(65_536, guarded=True, seconds=0.5, verify=True)
    assert reads > 20
    assert (torn, wrong) == (0, 0)


def test_without_the_guard_reads_do_tear():
    assert any(race(4_000_000, guarded=False, seconds=1.0)[1] > 0 for _ in range(5))


def test_a_checksum_that_differs_is_refused():
    region = SharedRegion.create(4096)
    buffers = WeightBuffers(region, 0, 256, verify=True)
    buffers.clear()
    assert buffers.fetch(np.zeros(256, np.uint8)) is None
    buffers.publish(np.arange(256, dtype=np.uint8), 0)
    out = np.zeros(256, np.uint8)
    assert buffers.fetch(out) == 0
    np.testing.assert_array_equal(out, np.arange(256))
    buffers._data[0][7] = 99
    assert buffers.fetch(out, attempts=3) is None
    region.close()


def test_a_version_that_was_overwritten_cannot_be_had_and_the_one_before_can():
    region = SharedRegion.create(4096)
    buffers = WeightBuffers(region, 0, 64)
    buffers.clear()
    out = np.zeros(64, np.uint8)
    for v in range(3):
        buffers.publish(np.full(64, v, np.uint8), v)
    assert buffers.fetch(out, 1) == 1
    assert out[0] == 1
    assert buffers.fetch(out, 0, attempts=3) is None
    assert buffers.fetch(out) == 2
    region.close()


def test_no_two_arrays_share_a_byte():
    region = SharedRegion.create(PLAN.nbytes)
    state = SharedState(PLAN, region)
    arrays = [state.control, state.stats, state.weights._latest, *state.weights._heads, *state.weights._data]
    for a, s in itertools.product(range(2), range(2)):
        arrays += state.slot(a, s).values()
    spans = sorted((x.__array_interface__["data"][0], x.nbytes) for x in arrays)
    for (start, size), (following, _) in itertools.pairwise(spans):
        assert start + size <= following
    last, size = spans[-1]
    first = spans[0][0]
    assert last + size - first <= PLAN.nbytes
    del arrays, spans
    state.close()


def test_too_much_memory_is_an_error_and_no_signal():
    with pytest.raises(OSError, match="MiB of shared memory"):
        SharedRegion.create(2**50)


def test_closing_twice_gives_the_descriptor_back_once():
    before = len(names("/proc/self/fd"))
    region = SharedRegion.create(4096)
    region.close()
    region.close()
    assert len(names("/proc/self/fd")) == before


def test_other_systems_are_told(monkeypatch):
    monkeypatch.delattr(region_module.os, "memfd_create")
    with pytest.raises(ConfigError, match="only Linux"):
        SharedRegion.create(4096)
