"""`orthoray export` as a command: what it prints, writes, and how it ends."""

import pytest
from tests.models.checkpoints import checkpoint

from orthoray.cli import main


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["export", *map(str, arguments)])
    return stop.value.code


def test_the_command_says_how_equal_the_copy_is_and_where_it_lies(tmp_path, capsys):
    checkpoint(tmp_path / "c", "dinov3", rope="bf16")
    assert run(tmp_path / "c", "--format", "timm", "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "read back with timm" in told
    assert "rounds the periods of RoPE" in told
    assert str(tmp_path / "out" / "README.md") in told
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "tensorflow"], "Formats: timm, hf, onnx"),
        (["--format", "timm", "--results", "nowhere"], "no finished study"),
        (["--format", "hf", "--size", "64"], "--size is for --format onnx"),
        ([], "--format"),
    ],
)
def test_bad_input_ends_with_2_and_nothing_is_written(arguments, message, tmp_path, capsys):
    checkpoint(tmp_path / "c", "vit")
    assert run(tmp_path / "c", "--out", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"c"}


def test_no_checkpoint_ends_with_2(tmp_path, capsys):
    assert run(tmp_path, "--format", "timm", "--out", tmp_path / "out") == 2
    assert "not a checkpoint" in capsys.readouterr().err


def test_a_copy_that_is_not_equal_ends_with_1_and_is_gone(tmp_path, capsys, monkeypatch):
    from orthoray.models import export_timm

    checkpoint(tmp_path / "c", "vit")
    monkeypatch.setattr(export_timm, "TOLERANCE", -1.0)
    assert run(tmp_path / "c", "--format", "timm", "--out", tmp_path / "out") == 1
    assert "computes something else" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"c"}
