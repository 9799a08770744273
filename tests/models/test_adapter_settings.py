import pytest

from orthoray.config import parse_config, to_yaml
from orthoray.errors import InputError
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.pretrain.settings.parallel import ParallelConfig


def test_a_key_that_means_nothing_for_the_kind_is_refused():
    for values, key in (
        ({"rank": 4}, "rank"),
        ({"kind": "apla", "targets": ["mlp"]}, "targets"),
        ({"kind": "lora", "fraction": 0.5}, "fraction"),
        ({"kind": "last_k", "unfreeze": 2, "norms": True}, "norms"),
    ):
        with pytest.raises(InputError, match=f"`{key}` means nothing for kind"):
            parse_config(AdapterConfig, values, "run.yaml")
    with pytest.raises(InputError, match="last_k needs `unfreeze`"):
        parse_config(AdapterConfig, {"kind": "last_k"}, "run.yaml")
    for values in ({"kind": "lora", "rank": 0}, {"kind": "apla", "fraction": 0.0}, {"kind": "lora", "targets": []}):
        with pytest.raises(InputError):
            parse_config(AdapterConfig, values, "run.yaml")


def test_settings_survive_being_written_out(tmp_path):
    import yaml

    for model, values in (
        (AdapterConfig, {"kind": "lora", "rank": 64, "targets": ["q", "v"], "unfreeze": 1}),
        (AdapterConfig, {}),
        (ParallelConfig, {"strategy": "fsdp2", "recompute": 3, "accumulate": 2}),
    ):
        config = parse_config(model, values, "run.yaml")
        assert parse_config(model, yaml.safe_load(to_yaml(config)), "run.yaml") == config


def test_recomputation_is_none_full_or_one_of_several():
    for value in ("none", "full", 2, 6):
        assert parse_config(ParallelConfig, {"recompute": value}, "run.yaml").recompute == value
    for value in (1, 0, "some"):
        with pytest.raises(InputError, match="recompute"):
            parse_config(ParallelConfig, {"recompute": value}, "run.yaml")
