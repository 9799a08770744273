"""`orthoray plan`: a table or JSON, without GPU, Ray session or data; exit statuses and messages."""

import json
import subprocess
import sys

import pytest
import yaml

pytestmark = pytest.mark.slow


def orthoray(*arguments, cwd=None):
    command = [sys.executable, "-m", "orthoray.cli", "plan", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def config_file(tmp_path):
    """A small run on data that is not at hand."""
    file = tmp_path / "run.yaml"
    values = {
        "out": "run",
        "data": {"datasets": [{"uri": "nowhere"}]},
        "model": {"backbone": "vit_tiny_patch16_224", "kwargs": {"depth": 2}},
        "batch_size": 64,
        "epochs": 2,
    }
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_table_for_people(config_file, tmp_path):
    done = orthoray(str(config_file), "--gpu", "H100", "--gpus", "2", "--price-gpu-hour", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("2 × H100", "GFLOP", "epochs", "cost", "assumed: the dataset is not at hand: nowhere"):
        assert word in done.stdout, word
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


def test_json_for_programs_and_overrides_as_everywhere(config_file):
    done = orthoray(
        str(config_file), "batch_size=128", "epochs=null", "steps=500", "--images", "9000", "--images-per-core", "100",
        "--cores", "4", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["images_seen"], found["data"]["images"]) == (64_000, 9000)
    assert found["flops"]["nominal"] > 1e9
    assert {device["bound_by"] for device in found["devices"] if device["device_rate"] > 400} == {"cores"}
    assert any("head.prototypes 65,536 is more than the 9,000 images" in line for line in found["warnings"])


def test_a_convolutional_network_is_planned_too(config_file):
    """timm takes no img_size for it, and its arithmetic is counted."""
    network = ["model.backbone=convnext_atto", "model.kwargs={}", "--gpu", "H100", "--images-per-core", "100", "--json"]
    done = orthoray(str(config_file), *network)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["memory"] is None
    assert found["flops"]["executed"] == found["flops"]["nominal"] > 1e9
    assert any("counted operation by operation" in line for line in found["assumed"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_preset"], "neither a file nor a preset"),
        (["{file}", "bath_size=3"], "Did you mean 'batch_size'?"),
        (["{file}", "--gpu", "H10"], "Did you mean 'H100'?"),
        (["{file}", "--mfu", "1.5"], "mfu: Input should be less than or equal to 1"),
        (["{file}", "--gpus", "0"], "gpus: Input should be greater than or equal to 1"),
        (["{file}", "model.backbone=vit_smal_patch16_224"], "vit_small_patch16_224"),
    ],
)
def test_bad_input_ends_with_2_and_a_message(arguments, message, config_file, tmp_path):
    done = orthoray(*[argument.format(file=config_file) for argument in arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_planning_needs_no_ray(config_file):
    code = (
        f"import sys\nfrom orthoray.cli import main\ntry:\n    main(['plan', {str(config_file)!r}, '--gpu', 'H100'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert 'mlflow' not in sys.modules\n"
        "import ray\nassert not ray.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_keys_are_those_of_pretraining():
    done = orthoray("--keys")
    assert done.returncode == 0, done.stderr
    assert "optimiser.lr" in done.stdout
