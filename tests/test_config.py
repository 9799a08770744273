"""Strict configuration: what is refused, and what the message tells the user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from orthoray.config import Auto, StrictModel, config_hash, describe_keys, find_preset, load_config, to_yaml
from orthoray.errors import InputError


class Optimiser(StrictModel):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


class Run(StrictModel):
    name: str
    optimiser: Optimiser = Optimiser()
    batch_size: int | Auto = "auto"
    map: dict[str, int] = Field(default_factory=dict)


def test_yaml_then_overrides(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: a\noptimiser:\n  lr: 1e-4\n")
    run = load_config(Run, file, ["optimiser.betas=[0.8, 0.9]", "batch_size=8", "map.knee=3"])
    assert run.optimiser.lr == 1e-4
    assert run.optimiser.betas == (0.8, 0.9)
    assert (run.batch_size, run.map) == (8, {"knee": 3})


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optimiser.rl=1", ["optimiser.rl", "unknown key", "optimiser.lr"]),
        ("optimizer.lr=1", ["unknown key", "optimiser.lr"]),
        ("optimiser.lr=fast", ["optimiser.lr", "valid number", "'fast'"]),
        ("batch_size=1.5", ["batch_size"]),
        ("batch_size=many", ["batch_size", "'auto'"]),
        ("optimiser.lr=.inf", ["optimiser.lr"]),
        ("name", ["key=value"]),
        ("name=[", ["not valid YAML"]),
    ],
)
def test_bad_override_is_refused_with_a_cure(override, parts):
    with pytest.raises(InputError) as error:
        load_config(Run, None, ["name=a", override])
    for part in parts:
        assert part in str(error.value)


def test_on_off_yes_and_no_are_words(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: off\nmap: {on: 1, yes: 2, No: 3, true: 4}\n")
    run = load_config(Run, file)
    assert (run.name, run.map) == ("off", {"on": 1, "yes": 2, "No": 3, "true": 4})
    file.write_text(to_yaml(run))
    assert load_config(Run, file) == run


def test_a_key_of_several_kinds_has_one_line_under_its_own_name():
    with pytest.raises(InputError) as error:
        load_config(Run, None, ["name=a", "batch_size=many"])
    text = str(error.value)
    assert "1 problem(s)" in text
    assert "\n  batch_size: " in text
    assert "valid integer" in text
    assert "'auto'" in text


def test_unknown_key_in_the_file_names_file_and_nearest(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: a\noptimiser: {lerning_rate: 1, l_r: 2}\nbatchsize: 3\n")
    with pytest.raises(InputError) as error:
        load_config(Run, file)
    text = str(error.value)
    assert "run.yaml" in text
    assert "3 problem(s)" in text
    assert "'batch_size'" in text
    assert "'optimiser.lr'" in text


def test_missing_and_broken_files(tmp_path):
    (tmp_path / "study.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"Did you mean 'study\.yaml'"):
        load_config(Run, tmp_path / "studdy.yaml")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(Run, tmp_path / "study.yaml")


def test_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="pretrain_knee_xray_kl"):
        find_preset("pretrain_knee_xray_lk")


@given(st.floats(1e-8, 10), st.integers(1, 10_000), st.text(min_size=1, max_size=20))
def test_yaml_round_trip_keeps_the_config_and_its_hash(lr, batch, name):
    import tempfile
    from pathlib import Path

    run = Run(name=name, optimiser=Optimiser(lr=lr), batch_size=batch)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(to_yaml(run), encoding="utf-8")
        again = load_config(Run, file)
    assert again == run
    assert config_hash(again) == config_hash(run)
    assert config_hash(run) != config_hash(Run(name=name, optimiser=Optimiser(lr=lr), batch_size=batch + 1))


def test_keys_are_listed_with_type_and_default():
    text = describe_keys(Run)
    assert "optimiser.lr" in text
    assert "0.001" in text
    assert "required" in text
