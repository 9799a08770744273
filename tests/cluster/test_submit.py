"""What a submission becomes, without a cluster: arguments, upload, name, attempts, messages."""

import os
import socket
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orthoray.cluster import upload
from orthoray.cluster.arguments import COMMANDS, JobArguments, prepare_arguments
from orthoray.cluster.client import find_server, read_token, resolve_address
from orthoray.cluster.follow import _Printer
from orthoray.cluster.jobs import Job, attempts, render_jobs
from orthoray.cluster.submit import job_name, submit
from orthoray.errors import InputError


def job(name, status="RUNNING", start=1_700_000_000.0, end=None, entrypoint="python jobs/x.py", **metadata):
    return Job(name, status, start, end, entrypoint, metadata)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration outside the project, with relative and absolute paths, in the working directory."""
    monkeypatch.chdir(tmp_path)
    values = {
        "out": "runs/a",
        "data": {"datasets": [{"uri": "dataset", "weight": 2.0}, {"uri": "s3://bucket/b"}]},
        "model": {"weights": "/models/w.safetensors", "backbone": "vit_small_patch16_224"},
    }
    (tmp_path / "pretrain_mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return tmp_path


def carried(prepared):
    (text,) = prepared.files.values()
    return yaml.safe_load(text)


def test_a_configuration_travels_with_absolute_paths(config):
    prepared = prepare_arguments("pretrain", ["pretrain_mine.yaml", "seed=3"], shares_paths=True)
    assert prepared.arguments == ["submitted/pretrain_mine.yaml", "seed=3"]
    assert list(prepared.files) == ["submitted/pretrain_mine.yaml"]
    sent = carried(prepared)
    assert sent["out"] == prepared.out == str(config / "runs/a")
    assert sent["data"]["datasets"] == [{"uri": str(config / "dataset"), "weight": 2.0}, {"uri": "s3://bucket/b"}]
    assert sent["model"] == {"weights": "/models/w.safetensors", "backbone": "vit_small_patch16_224"}
    assert prepared.name == "mine"


def test_overrides_are_made_absolute_also_inside_lists(config):
    overrides = ["out=runs/b", "data.datasets=[{uri: d, weight: 0.5}, {uri: 's3://x/y'}]", "features.store=auto"]
    prepared = prepare_arguments("pretrain", ["pretrain_mine.yaml", *overrides], shares_paths=True)
    out, data, store = prepared.arguments[1:]
    assert out == f"out={config}/runs/b"
    assert prepared.out == f"{config}/runs/b"
    assert yaml.safe_load(data.partition("=")[2]) == [{"uri": f"{config}/d", "weight": 0.5}, {"uri": "s3://x/y"}]
    assert store == "features.store=auto"


def test_study_presets_resolve_plain_lists_of_datasets(config):
    prepared = prepare_arguments("study", ["out=/o", "datasets=[a, s3://b]"], shares_paths=True)
    assert prepared.arguments == ["out=/o", f"datasets=[{config}/a, 's3://b']"]


def test_a_ranking_s_targets_and_lists_are_paths_and_timm_s_tags_and_named_lists_are_none(config):
    given = [
        "out=/o",
        "targets=[{dataset: d, task: t}]",
        "candidates=[{name: a, backbone: b, weights: 'timm:dino'}, {name: c, checkpoint: e}]",
        "--allow-random",
    ]
    prepared = prepare_arguments("rank", given, shares_paths=True)
    _, targets, candidates, flag = prepared.arguments
    assert yaml.safe_load(targets.partition("=")[2]) == [{"dataset": f"{config}/d", "task": "t"}]
    assert [item.get("weights", item.get("checkpoint")) for item in yaml.safe_load(candidates.partition("=")[2])] == [
        "timm:dino",
        f"{config}/e",
    ]
    assert flag == "--allow-random"
    named = prepare_arguments("rank", ["out=/o", "candidates=paper"], shares_paths=False)
    assert named.arguments[1] == "candidates=paper"
    with pytest.raises(InputError, match=r"candidates: 'mine\.yaml' is relative"):
        prepare_arguments("rank", ["out=/o", "candidates=mine.yaml"], shares_paths=False)


def test_relative_paths_are_refused_on_another_machine(config):
    with pytest.raises(InputError, match=r"out: 'runs/a' is relative"):
        prepare_arguments("pretrain", ["pretrain_mine.yaml"], shares_paths=False)
    with pytest.raises(InputError, match=r"data\.datasets\.uri: 'dataset' is relative"):
        prepare_arguments("pretrain", ["pretrain_mine.yaml", "out=/data/run"], shares_paths=False)
    overridden = ["out=s3://b/run", "data.datasets=[{uri: /data/d}]"]
    prepared = prepare_arguments("pretrain", ["pretrain_mine.yaml", *overridden], shares_paths=False)
    assert prepared.arguments[1:] == overridden


def test_ingest_takes_its_card_along_and_resolves_options(config):
    (config / "card.yaml").write_text("name: mine\n")
    arguments = ["card.yaml", "--source=images", "--limit", "5", "--out", "~/d"]
    prepared = prepare_arguments("ingest", arguments, shares_paths=True)
    out = os.path.expanduser("~/d")
    assert prepared.arguments == ["submitted/card.yaml", "--source", f"{config}/images", "--limit", "5", "--out", out]
    assert prepared.files == {"submitted/card.yaml": "name: mine\n"}
    assert prepared.out == out
    named = prepare_arguments("ingest", ["knee_xray_kl", "--source", "/s", "--out", "/o"], shares_paths=False)
    assert named.arguments[0] == "knee_xray_kl"
    assert named.files == {}


def test_report_and_demo_never_write_into_the_copy(config):
    assert prepare_arguments("report", ["runs/s"], shares_paths=True).arguments == [f"{config}/runs/s"]
    assert prepare_arguments("demo", ["--seed", "1"], shares_paths=True).out == f"{config}/orthoray-demo"
    for command, arguments in (("report", ["runs/s"]), ("demo", []), ("ingest", ["c", "--source", "s"])):
        with pytest.raises(InputError, match="relative"):
            prepare_arguments(command, arguments, shares_paths=False)


def test_a_plan_writes_nowhere_and_may_run_beside_the_run_it_plans(config):
    prepared = prepare_arguments("plan", ["--gpu", "H100", "--json", "pretrain_mine.yaml", "seed=3"], shares_paths=True)
    assert prepared.arguments == ["--gpu", "H100", "--json", "submitted/pretrain_mine.yaml", "seed=3"]
    assert carried(prepared)["data"]["datasets"][0]["uri"] == str(config / "dataset")
    assert (prepared.name, prepared.out) == ("mine", None)


def test_an_export_resolves_its_checkpoint_study_and_copy(config):
    arguments = ["--format", "timm", "runs/a/checkpoint", "--results=runs/s", "--out", "copy"]
    prepared = prepare_arguments("export", arguments, shares_paths=True)
    places = [f"{config}/runs/a/checkpoint", "--results", f"{config}/runs/s", "--out", f"{config}/copy"]
    assert prepared.arguments == ["--format", "timm", *places]
    assert (prepared.name, prepared.out) == ("a", f"{config}/copy")
    with pytest.raises(InputError, match="CHECKPOINT: 'runs/a/checkpoint' is relative"):
        prepare_arguments("export", ["runs/a/checkpoint", "--format", "timm", "--out", "/c"], shares_paths=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_can_be_a_job_has_its_program(command):
    program = Path(upload.__file__).parents[3] / "jobs" / f"{command}.py"
    assert f'main(["{command}", *sys.argv[1:]])' in program.read_text()


@pytest.mark.parametrize("command", ["jobs", "stop", "submit", "rm -rf"])
def test_only_work_can_be_a_job(command):
    with pytest.raises(InputError, match="cannot be a job"):
        prepare_arguments(command, [], shares_paths=True)


def test_the_upload_holds_code_and_cards_and_nothing_else(tmp_path, monkeypatch):
    project, target = tmp_path / "project", tmp_path / "target"
    wanted = ["platform/orthoray/__init__.py", "jobs/study.py", "datasets/x/card.yaml", "pyproject.toml"]
    unwanted = [
        ".git/config",
        ".env",
        "runs/a.bin",
        "data/scan.dcm",
        "platform/orthoray/__pycache__/a.pyc",
        "mlflow.db",
    ]
    for name in wanted + unwanted:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    target.mkdir()
    monkeypatch.chdir(project)
    made = upload.stage(target, None, {"submitted/c.yaml": "a: 1"})
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == sorted([*wanted, "submitted/c.yaml"])
    assert made.files == len(found)
    assert made.package == target / "platform" / "orthoray"


def test_another_working_dir_gets_the_package_too_but_no_hidden_files(tmp_path):
    folder, target = tmp_path / "mine", tmp_path / "target"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text("a")
    (folder / ".token").write_text("secret")
    target.mkdir()
    upload.stage(target, str(folder), {})
    assert (target / "sub" / "a.txt").is_file()
    assert (target / "platform" / "orthoray" / "cli" / "remote.py").is_file()
    assert not (target / ".token").exists()
    with pytest.raises(InputError, match="no such folder"):
        upload.stage(target, str(tmp_path / "absent"), {})


def test_a_large_upload_is_refused_before_anything_is_copied(tmp_path, monkeypatch):
    folder, target = tmp_path / "mine", tmp_path / "target"
    (folder / "scans").mkdir(parents=True)
    target.mkdir()
    with open(folder / "scans" / "big.bin", "wb") as file:
        file.truncate(upload.MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"limit is 100 MiB.*scans 100\.0 MiB"):
        upload.stage(target, str(folder), {})
    assert list(target.iterdir()) == []


def test_names_are_stable_readable_and_tell_jobs_apart():
    base = JobArguments(["submitted/a.yaml", "seed=1"], {"submitted/a.yaml": "out: /x"}, "knee xray", "/x")
    name = job_name("pretrain", base, "anna")
    assert name.startswith("pretrain-knee_xray-anna-")
    assert name == job_name("pretrain", base, "anna")
    others = [
        job_name("pretrain", base, "ben"),
        job_name("study", base, "anna"),
        job_name("pretrain", JobArguments(["submitted/a.yaml", "seed=2"], base.files, base.name), "anna"),
        job_name("pretrain", JobArguments(base.arguments, {"submitted/a.yaml": "out: /y"}, base.name), "anna"),
    ]
    assert len({name, *others}) == 5


def test_attempts_count_only_the_same_job():
    jobs = [job("a-1f"), job("a-1f-2"), job("a-1f-10"), job("a-1f-2b"), job("b-a-1f")]
    assert {number: found.submission_id for number, found in attempts(jobs, "a-1f").items()} == {
        1: "a-1f",
        2: "a-1f-2",
        10: "a-1f-10",
    }


def test_the_table_shows_every_job_once():
    jobs = [job("long-name-1", end=1_700_000_065.0, status="SUCCEEDED"), job("b", "PENDING", start=None)]
    lines = render_jobs(jobs).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["job", "status", "since", "duration", "command"]
    assert "1:05" in lines[1]
    assert lines[2].split() == ["b", "PENDING", "-", "-", "python", "jobs/x.py"]
    assert render_jobs([]) == "No jobs."


@given(st.text(min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4), st.integers(1, 7))
def test_a_log_that_is_streamed_again_is_printed_once(log, breaks, chunk):
    shown = []
    printer = _Printer(shown.append)
    for stop in [*breaks, len(log)]:
        printer.restart()
        part = log[:stop]
        for start in range(0, len(part), chunk):
            printer.take(part[start : start + chunk])
    assert "".join(shown) == log


def test_addresses(monkeypatch):
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert resolve_address(None) == "http://127.0.0.1:8265"
    assert resolve_address("head:8265/") == "http://head:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert resolve_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "https://head")
    assert resolve_address(None) == "https://head"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://first:1")
    assert resolve_address(None) == "http://first:1"
    for wrong in ("ray://head:10001", "http://", "http://head:port"):
        with pytest.raises(InputError, match="not the address"):
            resolve_address(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True])
def test_a_silent_or_foreign_server_is_reported_soon(answers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if answers:
            import threading

            def greet():
                connection, _ = server.accept()
                connection.sendall(b"SSH-2.0-none\r\n")
                connection.close()

            threading.Thread(target=greet, daemon=True).start()
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"No Ray cluster answers|not as Ray's job server"):
            find_server(address)
        assert time.monotonic() - begin < 8


def test_nothing_is_prepared_when_no_cluster_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="No Ray cluster answers"):
        submit("demo", [], address="http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_the_token_is_found_where_ray_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert read_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from-home\n")
    assert read_token() == "from-home"
    (tmp_path / "other").write_text("from-path")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert read_token() == "from-path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-env")
    assert read_token() == "from-env"


def test_every_command_has_a_thin_entry_point():
    root = upload.project_root()
    assert sorted(path.stem for path in (root / "jobs").glob("*.py")) == sorted(COMMANDS)
