"""Pretraining on chosen body parts: which images, which run, and what the checkpoint's card says it saw."""

import json

import pyarrow as pa
import pytest
from tests.pretrain.labelled import write_backbone
from tests.pretrain.series import film, mixture_of, mr, write_rows

from orthoray import storage
from orthoray.config import load_config, parse_config, to_yaml
from orthoray.errors import InputError
from orthoray.models import CheckpointCard, load_checkpoint
from orthoray.pretrain.body_parts import earlier_parts
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.run import pretrain
from orthoray.pretrain.runfile import Run
from orthoray.pretrain.teacher_checkpoint import save_teacher

KNEES = [film(body_part="knee", site="a") for _ in range(8)] + mr("k", 9, body_part="knee", site="b")
HIPS, UNNAMED = mr("h", 12, body_part="hip", site="b"), mr("u", 5, body_part="", site="c")


def with_index(uri, files):
    """`write_rows`, and the index beside the shards."""
    rows = [row for groups in files for group in groups for row in group]
    names = ("modality", "site", "body_part")
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    storage.write_table(table, f"{uri}/index.parquet")
    return write_rows(uri, files)


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    """17 knees (8 of them films), 12 hips and 5 images that name no body part, in three row groups of two files."""
    return with_index(
        tmp_path_factory.mktemp("parts") / "dataset", [[KNEES[:8] + HIPS[:3], KNEES[8:]], [HIPS[3:] + UNNAMED]]
    )


def selected(uri, *sources, **data):
    return mixture_of(uri, datasets=[{"uri": uri, **source} for source in sources], **data)


def shown(mixture):
    """(modality, body part) → number of images of the mixture, read from the shards."""
    import pyarrow.parquet as pq

    found = {}
    for group in mixture.groups:
        rows = pq.ParquetFile(group.file).read_row_group(group.group, columns=["modality", "body_part"]).to_pylist()
        for row in group.rows:
            key = tuple(rows[row].values())
            found[key] = found.get(key, 0) + 1
    return found


def test_only_images_of_the_chosen_body_parts_are_shown_and_counted(joints):
    knees = selected(joints, {"body_parts": ["knee"]})
    assert shown(knees) == {("XR", "knee"): 8, ("MR", "knee"): 9}
    assert (knees.images, knees.images_per_epoch(), knees.epoch_size(0)) == (17, 17, 17)
    assert knees.body_parts == ["knee"]
    films = selected(joints, {"body_parts": ["knee"], "modality": "XR", "weight": 4.0})
    assert (films.images, films.images_per_epoch()) == (8, 32)
    two = selected(joints, {"body_parts": ["knee"], "modality": "XR"}, {"body_parts": ["hip", "shoulder"]})
    assert shown(two) == {("XR", "knee"): 8, ("MR", "hip"): 12}
    assert two.body_parts == ["hip", "knee"]  # what is there, not what was asked for
    weighed = selected(joints, {"body_parts": ["hip", "knee"]}, weights={"site": {"b": 0.0, "a": 0.5}})
    assert (shown(weighed), weighed.images_per_epoch(), weighed.body_parts) == ({("XR", "knee"): 8}, 4, ["knee"])


def test_without_a_selection_the_index_says_what_is_seen(joints, tmp_path):
    assert selected(joints, {}).body_parts == ["", "hip", "knee"]
    assert selected(joints, {"modality": "XR"}).body_parts == ["knee"]
    assert selected(joints, {}, weights={"site": {"b": 0.0, "c": 0.0}}).body_parts == ["knee"]
    assert selected(joints, {"modality": "XR"}, {"body_parts": ["hip"]}).body_parts == ["hip", "knee"]
    assert mixture_of(write_rows(tmp_path / "bare", [[KNEES]])).body_parts == [""]  # no index: not known
    (tmp_path / "bare" / "index.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"index\.parquet: damaged, or not a Parquet file"):
        mixture_of(str(tmp_path / "bare"))


def test_a_selection_without_images_says_what_there_is(joints):
    with pytest.raises(InputError, match=r"no images of modality XR and body part hip\. There is: knee\.$"):
        selected(joints, {"modality": "XR", "body_parts": ["hip"]})
    with pytest.raises(InputError, match=r"no images of body part arm or chest\. There is: hip, knee\.$"):
        selected(joints, {"body_parts": ["chest", "arm"]})
    with pytest.raises(InputError, match=r"body part knee with a weight above 0\. There is: hip, knee\."):
        selected(joints, {"body_parts": ["knee"]}, weights={"modality": {"MR": 0.0, "XR": 0.0}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["kne"], r"unknown body part 'kne'\. Did you mean 'knee'\? There is: abdomen, ankle, .*wrist"),
        (["knee", "Hip"], "unknown body part 'Hip'. Did you mean 'hip'"),
        ([], "at least 1 item"),
        ("knee", "valid array"),
    ],
)
def test_unknown_names_are_refused(values_of, given, words):
    values = values_of(data__datasets=[{"uri": "d", "body_parts": given}])
    with pytest.raises(InputError, match=words):
        parse_config(PretrainConfig, values, "tiny")


def test_the_selection_is_part_of_the_run_s_identity_and_without_it_nothing_changes(config_of, tmp_path):
    plain = config_of(out=tmp_path)
    assert "body_parts" not in json.dumps(plain.identity())
    assert list(plain.identity()["data"]["datasets"][0]) == ["uri", "weight", "modality"]
    Run(plain, ["ds"], 20).begin()
    Run(config_of(out=tmp_path), ["ds"], 20)  # goes on
    chosen = config_of(out=tmp_path / "knees", data__datasets=[{"uri": "dataset", "body_parts": ["knee", "hip"]}])
    with pytest.raises(InputError, match=r"these keys differ: data\.datasets"):
        Run(chosen.model_copy(update={"out": str(tmp_path)}), ["ds"], 20)
    Run(chosen, ["ds"], 20).begin()
    again = load_config(PretrainConfig, tmp_path / "knees" / "config.yaml")
    assert again == chosen
    turned = config_of(
        out=tmp_path / "knees", data__datasets=[{"uri": "dataset", "body_parts": ["hip", "knee", "hip"]}]
    )
    assert to_yaml(turned) == to_yaml(chosen)
    Run(turned, ["ds"], 20)


def test_a_card_tells_what_was_seen_after_the_first_step_and_old_cards_still_load(config_of, tmp_path):
    initial = write_backbone(tmp_path / "initial")
    state = {f"backbone.{key}": value for key, value in load_checkpoint(initial)[0].state_dict().items()}
    adapter = config_of().adapter
    for steps, expected in ((0, []), (3, ["hip", "knee"])):
        uri = str(tmp_path / str(steps))
        save_teacher(uri, state, initial, adapter, steps, steps * 8, body_parts=["knee", "hip"])
        assert load_checkpoint(uri)[1].provenance.body_parts == expected
    file = f"{tmp_path}/3/card.json"
    raw = storage.read_json(file)
    raw["provenance"].pop("body_parts")
    assert CheckpointCard.model_validate(raw).provenance.body_parts == []
    assert earlier_parts(f"{tmp_path}/3") == earlier_parts(f"{tmp_path}/3/model.safetensors") == ["hip", "knee"]
    storage.write_json(file, raw)
    assert earlier_parts(f"{tmp_path}/3") == [""]  # trained, but it does not say on what
    assert earlier_parts(initial) == earlier_parts(None) == earlier_parts("timm:dino") == []
    assert earlier_parts(f"{tmp_path}/elsewhere.pth") == []


@pytest.mark.ray
@pytest.mark.slow
def test_runs_write_down_what_they_saw_and_add_it_to_what_their_weights_saw(ray_session, joints, config_of, tmp_path):
    def run(name, **changes):
        sources = [{"uri": joints, "body_parts": ["knee"]}]
        config = config_of(**{"out": tmp_path / name, "data__datasets": sources, "steps": 2, **changes})
        uri = pretrain(config)
        return load_checkpoint(f"{tmp_path}/{name}/initial")[1].provenance, load_checkpoint(uri)[1].provenance

    before, after = run("knees")
    assert (before.steps, before.body_parts) == (0, [])
    assert (after.steps, after.body_parts) == (2, ["knee"])
    hips = [{"uri": joints, "body_parts": ["hip"]}]
    before, after = run("more", data__datasets=hips, model__weights=f"{tmp_path}/knees/checkpoint")
    assert (before.steps, before.body_parts) == (0, ["knee"])
    assert after.body_parts == ["hip", "knee"]
