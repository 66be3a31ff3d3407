"""Detectors as folders and on the Hugging Face Hub: equal to the bit, with nothing private, wrong ones refused."""

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers import contents, refusal
from huggingface_hub.errors import RepositoryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save
from test_formats import assert_same

from promptad import PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.models import hub
from promptad.settings import BackboneSettings, PromptSettings, ScoringSettings, TrainingSettings

FORMAT_7 = Path(__file__).parent / "format_7"
SYSTEMS = {
    "multi_prototype": "multi-prototype",
    "multi_prototype_memory": "multi-prototype",
    "single_anchor": "single-anchor",
}
FILES = {"model.safetensors", "config.json", "README.md"}


def load(name: str = "multi_prototype") -> PromptAD:
    return PromptAD.load(FORMAT_7 / f"{name}.pt", system=SYSTEMS[name])


def small_images() -> list[np.ndarray]:
    with np.load(FORMAT_7 / "images.npz") as saved:
        return list(saved["images"])


def with_settings(estimator: PromptAD, **parts: Any) -> PromptAD:
    """The estimator with other parts of its detector's settings."""
    detector = estimator.detector
    changed: Any = replace(detector, settings=replace(detector.settings, **parts))  # type: ignore[type-var]
    return PromptAD._of(changed)


def config_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return content


def edit(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config_of(folder) | changes), encoding="utf-8")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> PromptAD:
    """An estimator that has learned from two files, whose names and folder are private."""
    folder = tmp_path_factory.mktemp("anna")
    paths = [folder / f"order_4711_{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        image, _ = draw_image("carpet", style_seed=3, instance_seed=number)
        Image.fromarray(image).resize((32, 32)).save(path)
    settings = Settings(
        backbone=BackboneSettings(name="tiny", resize=32),
        prompts=PromptSettings(states=("with hole", "türkis | <gefärbt>")),
        training=TrainingSettings(epochs=1, views=2),
        scoring=ScoringSettings(resolution=16, memory=True),
    )
    return PromptAD("carpet", settings=settings).fit(paths)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    load().save_pretrained(tmp_path / "carpet")
    return tmp_path / "carpet"


def assert_equal(found: PromptAD, expected: PromptAD) -> None:
    """Two estimators have learned the same to the bit, and predict the same."""
    assert_same(found.detector.learned(), expected.detector.learned())
    assert found.settings_ == expected.settings_
    assert found.class_name == expected.class_name
    one, other = (estimator.predict(small_images()) for estimator in (found, expected))
    np.testing.assert_array_equal(one.score, other.score)
    np.testing.assert_array_equal(one.raw_score, other.raw_score)
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)
    assert one.threshold == other.threshold
    assert one.explanations == other.explanations


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_folder_is_loaded_equal_to_the_bit_without_naming_its_system(name: str, tmp_path: Path) -> None:
    before = load(name)
    before.save_pretrained(tmp_path / "carpet")
    after = PromptAD.from_pretrained(tmp_path / "carpet")
    assert after.settings_.system == SYSTEMS[name]
    assert_equal(after, before)


def test_a_detector_that_was_just_trained_is_loaded_equal_to_the_bit(fitted: PromptAD, tmp_path: Path) -> None:
    fitted.save_pretrained(str(tmp_path))
    loaded = PromptAD.from_pretrained(str(tmp_path))
    assert loaded.settings == fitted.detector.settings
    assert_equal(loaded, PromptAD._of(fitted.detector))
    assert loaded.k_shot_ == 2


def test_a_folder_loaded_and_saved_again_is_the_same(saved: Path, tmp_path: Path) -> None:
    PromptAD.from_pretrained(saved).save_pretrained(tmp_path / "again" / "carpet")
    assert contents(tmp_path / "again" / "carpet") == contents(saved)


def test_tensors_have_dotted_names_and_all_else_is_readable(tmp_path: Path) -> None:
    estimator = load("multi_prototype_memory")
    estimator.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == FILES
    tensors, learned = load_file(tmp_path / "model.safetensors"), estimator.detector.learned()
    assert torch.equal(tensors["normal_prototypes"], learned["normal_prototypes"])
    assert torch.equal(tensors["memory.first"], learned["memory"]["first"])
    assert torch.equal(tensors["calibration.image_level"], learned["calibration"]["image_level"])
    config = config_of(tmp_path)
    assert (config["format"], config["format_version"], config["class_name"]) == (
        "promptad multi-prototype",
        8,
        "carpet",
    )
    assert config["vocabulary"] == {name: learned["vocabulary"][name] for name in ("phrases", "groups")}
    assert config["normal_scores"] == learned["normal_scores"]
    assert "calibration" not in config
    assert (tmp_path / "config.json").read_text().startswith('{\n  "format": "promptad multi-prototype",\n')


def test_what_shares_memory_is_written_as_often_as_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = load("single_anchor")
    learned = estimator.detector.learned()
    shared = learned["feature_gallery1"]
    monkeypatch.setattr(type(estimator.detector), "learned", lambda _: learned | {"feature_gallery2": shared.T.T})
    estimator.save_pretrained(tmp_path)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["feature_gallery2"], shared)


def test_names_of_support_images_stay_unless_they_are_asked_for(fitted: PromptAD, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path / "private")
    assert config_of(tmp_path / "private")["support_images"] == []
    assert config_of(tmp_path / "private")["settings"]["training"]["k_shot"] == 2
    for data in contents(tmp_path / "private").values():
        assert b"order_4711" not in data
        assert b"anna" not in data
    fitted.save_pretrained(tmp_path / "open", with_support_names=True)
    loaded = PromptAD.from_pretrained(tmp_path / "open").detector
    assert loaded.subject == fitted.detector.subject
    assert loaded.subject.support_images == ("order_4711_0.png", "order_4711_1.png")
    assert "the names of their files" in (tmp_path / "open" / "README.md").read_text(encoding="utf-8")
    assert "the names of their files" not in (tmp_path / "private" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["/home/anna/secret/clip.pt", r"C:\Users\anna\secret\clip.pt", "secret/clip.pt"])
def test_of_weights_that_are_a_file_only_its_name_is_written(path: str, tmp_path: Path) -> None:
    with_settings(load(), backbone=BackboneSettings(name="ViT-B-32", pretrained=path)).save_pretrained(tmp_path)
    assert config_of(tmp_path)["settings"]["backbone"]["pretrained"] == "clip.pt"
    assert not [name for name, data in contents(tmp_path).items() if b"anna" in data or b"secret" in data]
    assert 'weights="path/to/clip.pt")' in (tmp_path / "README.md").read_text(encoding="utf-8")
    message = refusal(PromptAD.from_pretrained, tmp_path)
    assert re.search(r"needs the weights clip\.pt of ViT-B-32, .* give its path by `weights`$", message)


def test_a_folder_opens_no_file_of_the_machine(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config_of(saved)["settings"]
    (tmp_path / "evil.pt").write_bytes(pickle.dumps("evil"))
    edit(saved, settings=settings | {"backbone": {"name": "ViT-B-32", "pretrained": str(tmp_path / "evil.pt")}})
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    assert "give its path by `weights`" in refusal(PromptAD.from_pretrained, saved)


def test_a_tag_of_weights_is_kept_and_the_card_tells_to_ask_for_it(tmp_path: Path) -> None:
    backbone = BackboneSettings(name="ViT-B-32", pretrained="laion2b_s34b_b79k")
    with_settings(load(), backbone=backbone).save_pretrained(tmp_path)
    assert config_of(tmp_path)["settings"]["backbone"]["pretrained"] == "laion2b_s34b_b79k"
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert 'weights="laion2b_s34b_b79k")' in card
    assert "has them downloaded once" in card


def test_no_pickle_of_a_folder_is_loaded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
        (saved / name).write_bytes(pickle.dumps("evil"))
    for module in (torch, pickle):
        monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("a pickle was loaded"))
    assert PromptAD.from_pretrained(saved).class_name == "carpet"
    (saved / "model.safetensors").unlink()
    assert "has no model.safetensors" in refusal(PromptAD.from_pretrained, saved)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_code_of_the_card_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(name).save_pretrained(tmp_path / "my carpet")
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(small_images()[:2], 1):
        Image.fromarray(image).save(f"new_{number}.png")
    (example,) = re.findall(r"```python\n(.*?)```", Path("my carpet/README.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["prediction"].score.shape == (2,)
    assert Path("predictions.png").stat().st_size > 0
    assert len([line for line in example.splitlines() if line]) == 5


def test_the_card_tells_what_a_user_must_know() -> None:
    estimator = load("multi_prototype_memory")
    detector, card = estimator.detector, estimator.generate_model_card(repo_id="anna/carpet")
    metadata = vars(card.data)
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("promptad", "image-classification")
    assert {"anomaly-detection", "few-shot", "clip"} <= set(metadata["tags"])
    threshold, range_ = estimator.predict(small_images()).threshold, detector.false_alarm_range
    assert threshold is not None
    assert range_ is not None
    assert f"a raw score of {threshold:.4g}," in card.text
    assert f"{100 * range_[0]:.3g} to {100 * range_[1]:.3g} % are likely |" in card.text
    assert "1 % of other good pictures: an aim" in card.text
    assert detector.backbone.weights_sha256 in card.text
    assert "learned from 2 good pictures" in card.text
    assert all(finding in card.text for finding in detector.findings())
    assert 'from_pretrained("anna/carpet")' in card.text
    assert "It was made for one part before one camera" in card.text


def test_the_card_tells_where_there_is_no_threshold() -> None:
    card = load("single_anchor").generate_model_card().text
    assert "none: its scores rank pictures, and label none" in card
    assert "false-alarm rate" not in card


def test_the_card_tells_that_test_labels_chose_the_epoch() -> None:
    honest = load()
    chosen = with_settings(honest, training=replace(honest.settings_.training, select="test-oracle"))
    assert "labels of test pictures" in chosen.generate_model_card().text
    assert "labels of test pictures" not in honest.generate_model_card().text


def test_a_second_detector_replaces_the_first_with_its_card(saved: Path) -> None:
    load("single_anchor").save_pretrained(saved)
    assert "| method | single-anchor" in (saved / "README.md").read_text(encoding="utf-8")
    assert_equal(PromptAD.from_pretrained(saved), load("single_anchor"))


def test_a_folder_that_cannot_be_written_keeps_what_it_had(saved: Path) -> None:
    (saved / "README.md").unlink()
    (saved / "README.md").mkdir()
    before = contents(saved)
    assert "`save_directory`" in refusal(load("single_anchor").save_pretrained, saved)
    assert contents(saved) == before


def test_a_readme_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n", encoding="utf-8")
    assert "is no model card of promptad and stays: choose another `save_directory`" in refusal(
        load().save_pretrained, tmp_path
    )
    assert contents(tmp_path) == {"README.md": b"# My project\n"}


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def damage_tensors(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-100] ^= 0xFF
    (folder / "model.safetensors").write_bytes(data)


def shorten_tensors(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def put_tensors(folder: Path, data: bytes) -> None:
    """Replace the tensors by bytes, with their hash in the configuration."""
    (folder / "model.safetensors").write_bytes(data)
    edit(folder, tensors_sha256=hashlib.sha256(data).hexdigest())


def no_tensors(folder: Path) -> None:
    put_tensors(folder, b"no tensors")


def nan_in_tensors(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["calibration.class_mean"][0] = float("nan")
    put_tensors(folder, save(tensors))


def fewer_tensors(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    put_tensors(folder, save({name: own for name, own in tensors.items() if name != "centre"}))


def a_tensor_in_both_files(folder: Path) -> None:
    edit(folder, calibration={"class_mean": 1})


def a_tensor_below_a_text(folder: Path) -> None:
    edit(folder, calibration="none")


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def binary_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe")


def infinite_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"format": Infinity}', encoding="utf-8")


def list_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


def changed(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, **changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("config.json"), "has no config.json: name a folder that save_pretrained wrote"),
        (without("model.safetensors"), "has no model.safetensors: name a folder that save_pretrained wrote"),
        (damage_tensors, "model.safetensors is damaged, or belongs to another config.json: fetch the folder again"),
        (shorten_tensors, "model.safetensors is damaged"),
        (no_tensors, "model.safetensors holds no tensors: fetch the folder again"),
        (nan_in_tensors, "calibration.class_mean holds numbers that are NaN or infinite"),
        (fewer_tensors, "is incomplete (centre)"),
        (a_tensor_in_both_files, "it holds calibration.class_mean, which model.safetensors holds"),
        (a_tensor_below_a_text, "config.json is damaged"),
        (no_json, "config.json is no JSON"),
        (binary_config, "config.json is no JSON"),
        (infinite_config, "config.json is no JSON (Infinity is no number)"),
        (list_config, "config.json is of no detector of promptad: name a folder that save_pretrained wrote"),
        (changed(format="pytorch"), "config.json is of no detector of promptad"),
        (changed(format="promptad crystal-ball"), "which this promptad does not know; install a newer promptad"),
        (changed(format="promptad crystal-ball", format_version=99), "format version 99"),
        (changed(format="promptad single-anchor"), "is of the multi-prototype system"),
        (changed(format_version=99), "has format version 99, this promptad reads up to 8; install a newer promptad"),
        (changed(format_version="new"), "format_version is no whole number"),
        (changed(format_version=3), "is of an older promptad"),
        (changed(weights_sha256="0" * 64), "was trained on other weights of tiny"),
        (changed(weights_sha256=0), "weights_sha256 is no text"),
        (changed(settings={"training": "x"}), "settings that this promptad does not know"),
        (changed(normal_scores={"image": [0.0, 1.0]}), "normal_scores has no image or no peaks"),
        (changed(tensors_sha256=None), "model.safetensors is damaged"),
    ],
)
def test_a_wrong_folder_is_refused(saved: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(saved)
    before = contents(saved)
    message = refusal(PromptAD.from_pretrained, saved)
    assert words in message
    assert str(saved) in message
    assert contents(saved) == before


def test_a_backbone_whose_name_is_no_text_is_refused(saved: Path) -> None:
    settings = config_of(saved)["settings"]
    edit(saved, settings=settings | {"backbone": settings["backbone"] | {"name": 5}})
    assert "settings.backbone.name is no text" in refusal(PromptAD.from_pretrained, saved)


def test_a_file_is_refused_with_what_reads_it() -> None:
    assert "read it by PromptAD.load" in refusal(PromptAD.from_pretrained, FORMAT_7 / "single_anchor.pt")


class Recorder:
    """Stands for the hub's client: it keeps what is uploaded."""

    def __init__(self, token: str | None = None) -> None:
        self.calls.append(("token", token))

    calls: list[tuple[str, Any]]
    files: dict[str, bytes]

    def create_repo(self, repo_id: str, **given: Any) -> Any:
        self.calls.append(("create_repo", {"repo_id": repo_id, **given}))
        return type("Url", (), {"repo_id": repo_id})()

    def upload_folder(self, *, folder_path: Path, **given: Any) -> str:
        self.calls.append(("upload_folder", given))
        self.files.update(contents(folder_path))
        return "commit"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    class Fresh(Recorder):
        calls: list[tuple[str, Any]] = []  # noqa: RUF012 of one test
        files: dict[str, bytes] = {}  # noqa: RUF012 of one test

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Fresh)
    monkeypatch.setattr(hub, "offline_without_hub", nullcontext)
    return Fresh


def test_pushing_uploads_the_folder_under_its_name(recorder: type[Recorder], fitted: PromptAD, tmp_path: Path) -> None:
    assert fitted.push_to_hub("anna/carpet", private=True, token="t", branch="new") == "commit"
    (_, token), (made, repository), (sent, upload) = recorder.calls
    assert (token, made, sent) == ("t", "create_repo", "upload_folder")
    assert repository == {"repo_id": "anna/carpet", "private": True, "exist_ok": True}
    assert (upload["repo_id"], upload["revision"]) == ("anna/carpet", "new")
    assert recorder.files.keys() == FILES
    assert not [name for name, data in recorder.files.items() if b"order_4711" in data]
    assert b'from_pretrained("anna/carpet")' in recorder.files["README.md"]
    for name, data in recorder.files.items():
        (tmp_path / name).write_bytes(data)
    assert_equal(PromptAD.from_pretrained(tmp_path), PromptAD._of(fitted.detector))


def test_pushing_publishes_names_of_support_images_if_asked(recorder: type[Recorder], fitted: PromptAD) -> None:
    fitted.push_to_hub("anna/carpet", with_support_names=True)
    assert b"order_4711_1.png" in recorder.files["config.json"]


def test_an_estimator_that_learned_nothing_is_neither_saved_nor_pushed(recorder: type[Recorder], saved: Path) -> None:
    estimator, before = PromptAD("carpet", backbone="tiny"), contents(saved)
    assert "learned nothing yet: call fit" in refusal(estimator.save_pretrained, saved)
    assert "learned nothing yet: call fit" in refusal(estimator.push_to_hub, "anna/carpet")
    assert contents(saved) == before
    assert recorder.calls == []


def test_what_the_hub_refuses_is_one_line(recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("403 Forbidden:\n\nyou may not write here")

    monkeypatch.setattr(recorder, "create_repo", refuse)
    message = refusal(load().push_to_hub, "anna/carpet")
    assert message.startswith("the hub refuses 'anna/carpet' (403 Forbidden: you may not write here): check")
    assert "is no name on the hub" in refusal(load().push_to_hub, "a/b/c")


def test_an_unknown_option_is_a_mistake_in_the_code(recorder: type[Recorder], saved: Path) -> None:
    with pytest.raises(TypeError, match="with_names"):
        load().push_to_hub("anna/carpet", with_names=True)
    with pytest.raises(TypeError, match="with_names"):
        PromptAD.from_pretrained(saved, with_names=True)
    assert recorder.files == {}


def test_from_the_hub_only_the_two_files_are_downloaded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **given: Any) -> str:
        asked.update(given, name=name)
        return str(saved)

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "offline_without_hub", nullcontext)
    assert_equal(PromptAD.from_pretrained("anna/carpet", revision="v2", token="t"), load())
    assert (asked["name"], asked["revision"], asked["token"]) == ("anna/carpet", "v2", "t")
    assert set(asked["allow_patterns"]) == FILES - {"README.md"}


def test_a_repository_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "offline_without_hub", nullcontext)
    assert "the hub has no 'anna/nothing', or does not show" in refusal(PromptAD.from_pretrained, "anna/nothing")


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refusal(PromptAD.from_pretrained, "anna/carpet", cache_dir=tmp_path)
    assert message.startswith("the hub cannot be reached for 'anna/carpet': connect this machine to the network, or")
    assert "the hub cannot be reached" in refusal(load().push_to_hub, "anna/carpet")
    nowhere = refusal(PromptAD.from_pretrained, tmp_path / "nowhere")
    assert "is no name on the hub, such as user/bracket: give one, or give the path of a folder" in nowhere
