"""Where a run is made to lie."""

from __future__ import annotations

import pytest

from optix_core.errors import CheckpointError, ConfigError
from optix_core.runs.run_place import RunPlace


class Agent:
    optix_spec_info = None


def place(root, run_dir=None, **options):
    defaults = {"resume": False, "config": {}, "seed": 3, "max_snapshots": 2, "durability": "process"}
    return RunPlace(root, run_dir, **{**defaults, **options})


def test_a_new_run_gets_a_new_directory_and_says_where(tmp_path):
    one, two = place(tmp_path), place(tmp_path)
    assert one.path is None
    first, second = one.open(Agent()), two.open(Agent())
    assert one.path == first.path != second.path == two.path
    assert first.path.parent == tmp_path
    assert first.info.seed == 3


def test_what_is_added_before_it_is_opened_is_recorded(tmp_path):
    one = place(tmp_path, config={"env": "Some-v1"})
    one.config["search"] = {"trials": 4}
    info = one.open(Agent()).info
    assert info.config["env"] == "Some-v1"
    assert info.config["search"] == {"trials": 4}


def test_a_given_directory_is_used_once_and_continued_if_asked_to(tmp_path):
    begun = place(tmp_path / "elsewhere", tmp_path / "mine").open(Agent())
    assert begun.path == tmp_path / "mine"
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(CheckpointError):
        place(tmp_path, tmp_path / "mine").open(Agent())
    again = place(tmp_path, tmp_path / "mine", resume=True, config={"ignored": 1}).open(Agent())
    assert again.info.run_id == begun.info.run_id
    assert "ignored" not in again.info.config


def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="durability is 'never'"):
        place(tmp_path, durability="never")
    with pytest.raises(ConfigError, match="needs run_dir"):
        place(tmp_path, resume=True)
    with pytest.raises(CheckpointError):
        place(tmp_path, tmp_path / "absent", resume=True).open(Agent())
    assert not list(tmp_path.iterdir())
