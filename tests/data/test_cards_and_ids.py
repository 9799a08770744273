"""Cards and pseudonyms."""

import re
import textwrap

import pytest

from orthoray.config import project_folders
from orthoray.data.cards import load_card
from orthoray.data.labels import class_names
from orthoray.errors import InputError
from orthoray.evaluation.registry import load_suite
from orthoray.imaging.pseudonyms import PUBLIC_KEY, Pseudonyms, pseudonyms


@pytest.fixture
def card_file(tmp_path):
    def write(text):
        file = tmp_path / "card.yaml"
        file.write_text("name: trial\ntitle: Trial\n" + textwrap.dedent(text))
        return str(file)

    return write


@pytest.mark.parametrize("name", ["phantom", "knee_xray_kl", "dicom_knee_mri"])
def test_cards_of_the_project_load(name):
    card = load_card(name)
    assert card.name == name
    assert not card.phi_source
    assert all(class_names(label.task) for label in card.labels)


def test_the_phantom_card_has_all_tasks_with_their_units():
    card = load_card("phantom")
    folder = project_folders("datasets/tasks")[0]
    units = {file.stem: re.search(r"unit: (\w+)", file.read_text()).group(1) for file in folder.glob("*.yaml")}
    seventeen = load_suite("phantom17").tasks
    assert {label.task: label.unit for label in card.labels} == {task: units[task] for task in seventeen}
    assert len(seventeen) == 17


def test_unknown_card_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'knee_xray_kl'"):
        load_card("knee_xray_lk")


def test_a_copy_of_the_example_needs_a_name_of_its_own(tmp_path):
    example = (project_folders("datasets")[0] / "hospital_example" / "card.yaml").read_text()
    copy = tmp_path / "ours" / "card.yaml"
    copy.parent.mkdir()
    copy.write_text(example)
    assert load_card(str(copy)) == load_card("hospital_example")
    copy.write_text(example.replace("site: main", "site: north"))
    with pytest.raises(InputError, match="name: hospital_example is the example's"):
        load_card(str(copy))
    copy.write_text(example.replace("site: main", "site: north").replace("name: hospital_example", "name: ours"))
    assert load_card(str(copy.parent)).name == "ours"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("globb: [a]", "globb: unknown key. Did you mean 'glob'"),
        ("short_side: 1024", "short_side"),
        ("bilateral: cut", "bilateral"),
        ("phi_source: maybe", "phi_source"),
        ("labels: [{task: a, unit: patient, table: t, key: {file: f}, column: c}]", "labels.0.unit"),
        ("labels: [{task: a, unit: image_id, table: t, key: {fil: f}, column: c}]", "labels.0.key"),
    ],
)
def test_faults_of_a_card_are_named(card_file, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_card(card_file(text))


def test_a_task_is_listed_once(card_file):
    entry = "{task: a, unit: image_id, table: t, key: {file: f}, column: c}"
    with pytest.raises(InputError, match="listed twice: a"):
        load_card(card_file(f"labels: [{entry}, {entry}]"))


def test_ids_are_stable_keyed_and_separate():
    one, other = Pseudonyms(b"k" * 16, "a"), Pseudonyms(b"l" * 16, "a")
    assert one.make("patient", "123") == one.make("patient", "123")
    values = {
        one.make("patient", "123"),
        other.make("patient", "123"),
        one.make("study", "123"),
        one.make("patient", "124"),
        Pseudonyms(b"k" * 16, "b").make("patient", "123"),
    }
    assert len(values) == 5
    assert one.key_id != other.key_id
    assert one.make("patient", "") == ""
    assert "k" * 16 not in repr(one)


def test_golden_id_of_a_public_source():
    """Computed with openssl: printf 'patient\\x1fknee\\x1f9001104' | openssl dgst -sha256 -hmac '<public key>'."""
    assert pseudonyms("knee", phi=False).key == PUBLIC_KEY
    assert pseudonyms("knee", phi=False).make("patient", "9001104") == "p15ab9a45d6e832119e08"


def test_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "0123456789abcdef0123")
    assert pseudonyms("a", phi=True).key == b"0123456789abcdef0123"
    monkeypatch.setenv("ORTHORAY_HMAC_KEY", "short")
    with pytest.raises(InputError, match="at least 16") as error:
        pseudonyms("a", phi=True)
    assert "short" not in str(error.value)


def test_key_file_must_be_private(monkeypatch, tmp_path):
    monkeypatch.delenv("ORTHORAY_HMAC_KEY", raising=False)
    file = tmp_path / "key"
    monkeypatch.setenv("ORTHORAY_KEY_FILE", str(file))
    with pytest.raises(InputError, match="openssl rand"):
        pseudonyms("a", phi=True)
    file.write_text("0123456789abcdef0123\n")
    file.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        pseudonyms("a", phi=True)
    file.chmod(0o600)
    assert pseudonyms("a", phi=True).key == b"0123456789abcdef0123"
