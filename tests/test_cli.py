"""The command line: exit statuses, near misses, messages; each command in a process of its own."""

import errno
import subprocess
import sys

import pytest

from orthoray import cli
from orthoray.cli.remote import take_address
from orthoray.errors import InputError, RunError, nearest


def orthoray(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "orthoray.cli", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_help_teaches_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom orthoray.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'ray', 'pandas', 'numpy', 'timm', 'mlflow'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "ingest", "pretrain", "study", "report", "submit"):
        assert f"\n  {command}" in done.stdout
    assert "Exit status" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "Did you mean 'pretrain'?"),
        (["ingest", "knee_xray_lk", "--source", ".", "--out", "x"], "Did you mean 'knee_xray_kl'?"),
        (["pretrain"], "no CONFIG"),
        (["pretrain", "no_such_preset"], "neither a file nor a preset"),
        (["study", "study_knee_xray_kl", "fold=3"], "Did you mean 'folds'?"),
        (["ingest", "knee_xray_kl", "--out", "x"], "--source"),
        (["report", "nowhere"], "nowhere"),
        (["submit", "--address", "http://127.0.0.1:9", "demo"], "No Ray cluster answers"),
        (["submit", "pretrian", "x"], "Did you mean 'pretrain'?"),
    ],
)
def test_bad_input_ends_with_2_and_a_message(arguments, message, tmp_path):
    done = orthoray(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_a_card_are_listed_without_any_argument():
    done = orthoray("ingest", "--keys")
    assert done.returncode == 0, done.stderr
    for key in ("phi_source", "screening.mr_artefact.noise_z", "days_from_baseline", "label_source", "min_raters"):
        assert key in done.stdout


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (InputError("bad key"), 2, "bad key"),
        (RunError("it broke"), 1, "it broke"),
        (KeyboardInterrupt(), 1, "same command again"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk is full"),
        (OSError(errno.EACCES, "Permission denied", "/data"), 1, "no permission to write at /data"),
    ],
)
def test_errors_become_exit_status_and_message(raised, status, message, monkeypatch, capsys):
    def fail(*_args, **_options):
        raise raised

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo"])
    assert stop.value.code == status
    assert message in capsys.readouterr().err


def test_errors_from_ray_tasks_show_the_cause_only(monkeypatch, capsys):
    from ray.exceptions import RayTaskError

    wrapped = RayTaskError("task", "long remote traceback", InputError("image 3 is bad")).as_instanceof_cause()

    def fail(*_args, **_options):
        raise wrapped

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip() == "Error: image 3 is bad"


def test_address_is_taken_on_either_side_of_the_command():
    assert take_address(["CONFIG", "--address", "http://h:1", "seed=1"], None) == (
        ["CONFIG", "seed=1"],
        "http://h:1",
    )
    assert take_address(["--address=http://h:2"], "x") == ([], "http://h:2")


def test_nearest_says_nothing_when_nothing_is_near():
    assert nearest("zzz", ["pretrain", "study"]) == ""
    assert nearest("Pretrain", ["pretrain"]) == " Did you mean 'pretrain'?"
