"""A child that crashes, hangs, fills memory or lies, and a parent that goes on."""

import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from tests.imaging import hazards

from orthoray.imaging import REASONS, UnreadableImageError
from orthoray.imaging.guarded import Guarded

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture(scope="module")
def shared_guard():
    with Guarded(memory_bytes=1024 * MIB, timeout_s=20) as found:
        yield found


@pytest.fixture
def guard(shared_guard):
    yield shared_guard
    assert shared_guard.call(hazards.echo, "works") == "works"


def refusal(guard, function, *arguments):
    with pytest.raises(UnreadableImageError) as caught:
        guard.call(function, *arguments)
    assert caught.value.reason in REASONS
    return caught.value.reason, caught.value.detail


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_results_come_back_as_they_were(guard):
    pixels = np.arange(3 * 70_000, dtype=np.float32).reshape(3, -1)
    parts = [pixels, pixels[:, ::2], pixels[:1, :5].astype(">u2"), np.float32(1.5), np.zeros((0, 3))]
    plain = {"day": date(2020, 2, 29), "bytes": b"\0" * 100_000, "none": None, "set": {1}, "text": "\udcff 左"}
    record = hazards.Record("a", parts)
    result = guard.call(hazards.echo, [record, plain, hazards.Pair(1, 2)])
    assert result[1:] == [plain, hazards.Pair(1, 2)]
    assert type(result[0]) is hazards.Record
    assert type(result[2]) is hazards.Pair
    for sent, received in zip(parts, result[0].pixels, strict=True):
        np.testing.assert_array_equal(received, sent)
        assert received.dtype == sent.dtype
    result[0].pixels[0][:] = 1  # large arrays are the caller's to change
    assert guard.call(dict, a=1) == {"a": 1}


def test_large_arrays_pass_whole(guard):
    shape = 150 * MIB
    result = guard.call(hazards.zeros, shape)
    assert result.nbytes == shape


def test_the_functions_own_refusal_passes_unchanged(guard):
    before = guard.call(hazards.pid)
    assert refusal(guard, hazards.refuse, "blank", "all alike") == ("blank", "all alike")
    assert guard.call(hazards.pid) == before


def test_other_exceptions_are_told_by_type_and_place_only(guard):
    lines = Path(hazards.__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "raise KeyError" in text)
    assert refusal(guard, hazards.fail, "WANG^XIAODONG") == ("decoder_failed", f"KeyError at hazards.py:{line}")


@pytest.mark.parametrize(
    ("function", "arguments", "detail"),
    [
        (hazards.read_null, (), "SIGSEGV"),
        (hazards.abort_in_native_code, (), "SIGABRT"),
        (hazards.die, (signal.SIGKILL,), "SIGKILL"),
        (hazards.exit_with, (3,), "exit status 3"),
    ],
)
def test_a_crash_is_this_files_fate_alone(guard, function, arguments, detail):
    before = guard.call(hazards.pid)
    assert refusal(guard, function, *arguments) == ("decoder_crashed", detail)
    assert guard.call(hazards.pid) != before
    assert not is_running(before)


@pytest.mark.parametrize(("function", "arguments"), [(hazards.sleep, (60,)), (hazards.spin_in_native_code, ())])
def test_a_call_that_hangs_ends_in_time(function, arguments):
    with Guarded(memory_bytes=1024 * MIB, timeout_s=0.5) as guard:
        before = guard.call(hazards.pid)
        begin = time.monotonic()
        assert refusal(guard, function, *arguments) == ("timeout", "0.5 s")
        assert time.monotonic() - begin < 3
        assert not is_running(before)
        assert guard.call(hazards.echo, 1) == 1


def test_starting_does_not_count_as_time_of_the_call():
    with Guarded(memory_bytes=1024 * MIB, timeout_s=0.2) as guard:
        assert guard.call(hazards.sleep, 0.02) == 0.02


def test_memory_beyond_the_limit_is_refused_and_below_it_is_not(guard):
    before = guard.call(hazards.pid)
    assert refusal(guard, hazards.fill, 1000 * MIB) == ("too_large", "more than 1024 MiB of memory")
    assert not is_running(before)
    assert guard.call(hazards.fill, 600 * MIB) == 600 * MIB
    assert guard.call(hazards.native_allocation, 600 * MIB) is True
    assert guard.call(hazards.native_allocation, 1000 * MIB) is False


def test_what_earlier_calls_left_behind_is_not_held_against_a_file(guard):
    for _ in range(3):
        assert guard.call(hazards.crash_in_a_used_process) == 1
    assert [guard.call(hazards.leak, 400 * MIB) for _ in range(4)] == [1, 2, 1, 2]


def test_the_child_has_limits_and_none_of_the_keys(monkeypatch):
    for name in ("ORTHORAY_KEY_FILE", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "secret")
    with Guarded(memory_bytes=512 * MIB, timeout_s=20, environment={"STORE_ENDPOINT": "here"}) as guard:
        found = guard.call(hazards.environment)
        assert guard.call(hazards.limits) == [(512 * MIB, 512 * MIB), (0, 0)]
    assert "secret" not in found.values()
    assert found["STORE_ENDPOINT"] == "here"
    assert found["OMP_NUM_THREADS"] == "1"


def test_the_child_inherits_no_open_file(tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with Guarded(memory_bytes=1024 * MIB, timeout_s=20) as first, Guarded(1024 * MIB, 20) as second:
            first.call(hazards.pid)
            assert not any(name.endswith("open") for name in second.call(hazards.open_files))
            second.close()
            assert first.call(hazards.echo, 1) == 1


def test_nothing_that_the_child_writes_is_seen(guard, capfd):
    assert guard.call(hazards.write_everywhere, "WANG^XIAODONG") == ""
    assert capfd.readouterr() == ("", "")


def test_several_guards_and_threads_side_by_side():
    with Guarded(1024 * MIB, 20) as one, Guarded(1024 * MIB, 20) as other:
        pids = {one.call(hazards.pid), other.call(hazards.pid)}
        wrong = []

        def work(guard, number):
            for step in range(20):
                if guard.call(hazards.echo, (number, step)) != (number, step):
                    wrong.append((number, step))

        threads = [threading.Thread(target=work, args=(guard, number)) for number in range(4) for guard in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert pids == {one.pid, other.pid}
        assert len(pids) == 2


def test_the_thread_that_started_the_child_may_end():
    with Guarded(1024 * MIB, 20) as guard:
        thread = threading.Thread(target=guard.call, args=(hazards.pid,))
        thread.start()
        thread.join()
        before = guard.pid
        time.sleep(0.2)
        assert guard.call(hazards.pid) == before


def test_the_child_goes_with_its_guard():
    guard = Guarded(1024 * MIB, 20)
    pid = guard.call(hazards.pid)
    assert is_running(pid)
    del guard
    gc.collect()
    assert not is_running(pid)


def test_a_copy_of_the_parent_made_by_fork_takes_a_child_of_its_own(guard):
    before = guard.call(hazards.pid)
    reader, writer = os.pipe()
    copy = os.fork()
    if copy == 0:
        try:
            found = guard.call(hazards.pid)
            guard.close()
            os.write(writer, struct.pack("q", found))
        finally:
            os._exit(0)
    (other,) = struct.unpack("q", os.read(reader, 8))
    os.waitpid(copy, 0)
    os.close(reader)
    os.close(writer)
    assert other not in (0, before)
    assert guard.call(hazards.pid) == before


PARENT = """
import sys
from orthoray.imaging.guarded import Guarded
from tests.imaging import hazards

guard = Guarded(1 << 30, 60)
guard.call(hazards.pid)
print(guard.pid, flush=True)
if sys.argv[1] == "busy":
    guard.call(hazards.spin_in_native_code)
if sys.argv[1] == "idle":
    sys.stdin.read()
"""


@pytest.fixture
def parent():
    """Return a function that starts a process with a child and returns both."""
    started = []

    def start(what):
        command = [sys.executable, "-c", PARENT, what]
        process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, start_new_session=True)
        started.append(process)
        child = int(process.stdout.readline())
        time.sleep(0.2)
        assert is_running(child) or what == "ends"
        return process, child

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("what", ["busy", "idle", "ends"])
def test_the_child_goes_with_the_process(parent, what):
    process, child = parent(what)
    if what != "ends":
        process.kill()
    process.wait(10)
    assert wait_for(lambda: not is_running(child))


def test_an_interrupt_ends_the_child_without_a_word_of_its_own(parent):
    process, child = parent("busy")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    assert wait_for(lambda: not is_running(child))


def message(count, *rest):
    return struct.pack("<Q", count) + b"".join(rest)


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 64,
        message(0),
        message(1, struct.pack("<Q", 4), b"\x80\x05.."),
        message(1, struct.pack("<Q", len(text := pickle.dumps(5))), text),
        message(1, struct.pack("<Q", len(text := pickle.dumps(("other", 5)))), text),
        message(1, struct.pack("<Q", len(text := pickle.dumps(("done", os.system))[:-3])), text),
    ],
)
def test_an_answer_that_makes_no_sense_counts_as_a_crash(guard, answer):
    assert refusal(guard, hazards.answer_by_hand, answer) == ("decoder_crashed", "garbled answer")


def test_an_endless_answer_is_cut_off(guard):
    assert refusal(guard, hazards.answer_by_hand, message(1, struct.pack("<Q", 1 << 60)))[0] == "too_large"


def test_an_answer_cannot_run_code_in_the_parent(guard, tmp_path):
    with pytest.raises(TypeError, match=r"posix\.mkdir"):
        guard.call(hazards.send_code, str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()
    with pytest.raises(TypeError, match="Plain"):
        guard.call(hazards.make_plain)


def test_functions_that_cannot_be_found_are_refused_loudly(guard, monkeypatch):
    for function in (lambda: 1, lambda_like()):
        with pytest.raises(TypeError, match="module and name"):
            guard.call(function)
    monkeypatch.setattr(hazards.echo, "__module__", "tests.imaging.nothing")
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
        guard.call(hazards.echo, 1)
    monkeypatch.undo()


def test_a_limit_too_small_for_the_libraries_is_told():
    with Guarded(memory_bytes=16 * MIB, timeout_s=20) as guard, pytest.raises(RuntimeError, match="cannot"):
        guard.call(hazards.pid)


def lambda_like():
    def inner():
        return 1

    return inner


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_in_ray_data_every_actor_has_a_child_that_goes_with_it():
    import ray.data

    mapped = ray.data.range(60, override_num_blocks=6).map_batches(
        hazards.Guarding, concurrency=2, num_cpus=0.5, batch_size=5
    )
    rows = mapped.take_all()
    reasons = {row["id"]: row["reason"] for row in rows}
    assert reasons == {number: "" if number % 5 else "decoder_crashed" for number in range(60)}
    children = {row["child"] for row in rows}
    assert not children & {row["worker"] for row in rows}
    del mapped
    assert wait_for(lambda: not any(is_running(pid) for pid in children), 30)
