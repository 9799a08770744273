"""Training states on disk: what is damaged is passed over and told, what is half-written is not there."""

import os
import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.errors import RunError
from orthoray.pretrain.states import new_name, newest_state, saved_states, tidy, write_state

CPU = torch.device("cpu")


def state_of(step):
    return {"student": {"weight": torch.full((64, 64), float(step))}, "watch": {"next": step}, "step": step}


@pytest.fixture
def run(tmp_path):
    """A run's folder with the states of steps 100, 200 and 300."""
    for step in (200, 100, 300):
        write_state(str(tmp_path), new_name(step), state_of(step))
    return str(tmp_path)


def file_of(run, step):
    return next(saved.file for saved in saved_states(run) if saved.step == step)


def cut(file, size):
    with open(file, "r+b") as handle:
        handle.truncate(size)


def flip(file, at):
    with open(file, "r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([byte ^ 1]))


def test_the_newest_state_comes_back_as_it_was(run):
    assert [saved.step for saved in saved_states(run)] == [300, 200, 100]
    found = newest_state(run, CPU)
    assert (found.saved.step, found.damaged) == (300, [])
    assert torch.equal(found.state["student"]["weight"], state_of(300)["student"]["weight"])
    assert found.state["watch"] == {"next": 300}


def test_without_any_state_a_run_begins_at_step_0(tmp_path):
    found = newest_state(str(tmp_path), CPU)
    assert (found.saved, found.state, found.damaged) == (None, {}, [])


def test_a_truncated_state_gives_way_to_the_one_before_it_and_that_is_told(run):
    file = file_of(run, 300)
    cut(file, os.path.getsize(file) // 2)
    found = newest_state(run, CPU)
    assert found.saved.step == found.state["step"] == 200
    (line,) = found.damaged
    assert line.startswith("the state of step 300 cannot be read (the file is cut off or has been overwritten): ")
    assert file in line
    assert line.endswith("going back to step 200, 100 step(s) are done again")


def test_a_changed_byte_in_the_weights_is_noticed(run):
    file = file_of(run, 300)
    weights = state_of(300)["student"]["weight"].numpy().tobytes()
    with open(file, "rb") as handle:
        at = handle.read().index(weights)
    flip(file, at + len(weights) // 2)
    found = newest_state(run, CPU)
    assert found.saved.step == 200
    assert "checksum" in found.damaged[0]


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04" + bytes(100)])
def test_other_content_is_no_state(run, content):
    with open(file_of(run, 300), "wb") as handle:
        handle.write(content)
    assert newest_state(run, CPU).saved.step == 200


def test_a_state_under_the_name_of_another_step_is_not_trusted(run):
    os.replace(file_of(run, 100), file_of(run, 300))
    found = newest_state(run, CPU)
    assert found.saved.step == 200
    assert "not the state that its name says" in found.damaged[0]


@settings(max_examples=40, deadline=None)
@given(cut_at=st.floats(0, 0.999), flip_at=st.floats(0, 0.999))
def test_no_damage_does_more_than_go_back(tmp_path_factory, cut_at, flip_at):
    run = str(tmp_path_factory.mktemp("run"))
    for step in (1, 2, 3):
        write_state(run, new_name(step), state_of(step))
    for step, damage, share in ((3, cut, cut_at), (2, flip, flip_at)):
        file = file_of(run, step)
        damage(file, int(share * os.path.getsize(file)))
    found = newest_state(run, CPU)
    assert found.saved.step in (1, 2)  # padding may change unnoticed
    assert torch.equal(found.state["student"]["weight"], state_of(found.saved.step)["student"]["weight"])


def test_if_none_can_be_read_the_run_does_not_start_anew_by_itself(run):
    for saved in saved_states(run):
        cut(saved.file, 10)
    with pytest.raises(RunError, match=r"none of the run's 3 saved state\(s\) can be read") as caught:
        newest_state(run, CPU)
    text = str(caught.value)
    assert all(saved.file in text for saved in saved_states(run))
    assert "Restore one from a copy, or remove the folder" in text


def test_a_write_that_fails_leaves_nothing_and_harms_nothing(run):
    before = {saved.file for saved in saved_states(run)}
    with pytest.raises(Exception, match="pickle"):
        write_state(run, new_name(400), {**state_of(400), "unfit": lambda: None})
    found = {os.path.join(place, name) for place, _, names in os.walk(run) for name in names}
    assert found == before
    assert len(os.listdir(os.path.join(run, "train"))) == 3


def test_tidying_keeps_the_newest_and_removes_what_is_half_written(run):
    half = os.path.join(run, "train", new_name(350))
    os.makedirs(half)
    for name in (os.path.join(half, ".state.pt.1234.tmp"), os.path.join(run, "train", "validation.txt")):
        with open(name, "w") as handle:
            handle.write("half")
    tidy(run, keep=2)
    assert [saved.step for saved in saved_states(run)] == [300, 200]
    assert not os.path.exists(half)
    assert os.path.exists(os.path.join(run, "train", "validation.txt"))


def test_wherever_writing_stops_it_is_the_filesystem_that_is_blamed(tmp_path):
    run, state = str(tmp_path), {**state_of(1), "more": [torch.randn(300) for _ in range(40)]}
    write_state(run, new_name(1), state)
    whole = os.path.getsize(saved_states(run)[0].file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(1, whole, whole // 40):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                write_state(run, new_name(2), state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [saved.step for saved in saved_states(run)] == [1]
