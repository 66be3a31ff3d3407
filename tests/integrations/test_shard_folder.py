"""The folder of shards, without a cluster: what is kept, what is missing, what is refused."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from helpers import contents, refusal

from promptad.integrations import cluster_pictures
from promptad.integrations.cluster_pictures import FilePictures, PickedFiles, find_pictures, names_sha256
from promptad.integrations.ray_predict import ActorWork, Opened, ShardJudge
from promptad.integrations.shard_files import check_names, read_shard, write_shard
from promptad.integrations.shard_folder import ShardFolder, ShardPlan
from promptad.runtime.judge import Tally
from promptad.runtime.predict import Predictor
from promptad.runtime.predictions import PredictionRun, predictions_file
from promptad.runtime.records import PredictionRecord
from promptad.settings import Settings

NAMES = tuple(f"{number}.png" for number in range(5))
RUN = PredictionRun("a.pt", "0" * 64, ".", "carpet", (), Settings())


def plan(size: int = 2, **options: object) -> ShardPlan:
    return ShardPlan(RUN, NAMES, {"sha256": names_sha256(NAMES)}, size, "jsonl", options)


def write(shards: ShardFolder, number: int) -> None:
    """Write a missing shard, of pictures that cannot be read."""
    start, stop = shards.plan.range_of(number)
    write_shard(shards.new_file(number), [PredictionRecord(name, error="none") for name in NAMES[start:stop]])


def finish(folder: Path, own: ShardPlan) -> ShardFolder:
    shards = ShardFolder(folder, own)
    for number in shards.missing:
        write(shards, number)
    tallies: list[Tally] = []
    assert [record.path for record in shards.records(tallies)] == list(NAMES)
    shards.finish(tallies, {})
    return shards


def test_an_interrupted_run_goes_on_and_another_starts_anew(tmp_path: Path) -> None:
    first = ShardFolder(tmp_path, plan())
    assert first.missing == [0, 1, 2]
    write(first, 1)
    assert ShardFolder(tmp_path, plan()).missing == [0, 2]
    assert ShardFolder(tmp_path, plan(batch_size=1)).missing == [0, 1, 2]
    assert ShardFolder(tmp_path, plan()).missing == [0, 1, 2]  # of it, nothing was left


def test_a_shard_of_other_pictures_or_cut_short_is_missing(tmp_path: Path) -> None:
    finish(tmp_path, plan())
    file = tmp_path / "part-00002.jsonl"
    write_shard(file, [PredictionRecord("other.png", error="none")])
    assert ShardFolder(tmp_path, plan()).missing == [2]
    file.write_text('{"path": "4.p')
    assert ShardFolder(tmp_path, plan()).missing == [2]
    assert read_shard(tmp_path / "part-00009.jsonl") is None


def test_what_was_finished_stays_until_another_run_ends(tmp_path: Path) -> None:
    finish(tmp_path, plan())
    before = contents(tmp_path)
    other = ShardFolder(tmp_path, plan(size=3))
    write(other, 0)
    assert before.items() <= contents(tmp_path).items()
    finish(tmp_path, plan(size=3))
    assert contents(tmp_path).keys() == {"part-00000.jsonl", "part-00001.jsonl", "manifest.json", "run.json"}


def test_a_kill_while_the_shards_are_moved_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path, plan(size=5))
    moved: list[Path] = []
    complete = Path.replace

    def killed_at_the_second(self: Path, target: Path) -> Path:
        if self.name.startswith("part-") and Path(target).parent == tmp_path:
            if moved:
                raise KeyboardInterrupt
            moved.append(self)
        return complete(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            finish(tmp_path, plan())
    assert moved
    assert ShardFolder(tmp_path, plan()).missing == []
    finish(tmp_path, plan())
    assert len(list(tmp_path.glob("part-*"))) == 3


def test_predictions_of_a_cluster_and_of_one_process_do_not_mix(tmp_path: Path) -> None:
    finish(tmp_path / "cluster", plan())
    with predictions_file(tmp_path / "one", RUN, ()):
        pass
    assert "of one process" in refusal(ShardFolder, tmp_path / "one", plan())

    def open_one() -> None:
        with predictions_file(tmp_path / "cluster", RUN, ()):
            pass

    assert "of a cluster" in refusal(open_one)


def test_the_plan_tells_detectors_apart() -> None:
    assert replace(plan(), run=replace(RUN, checkpoint_sha256="1" * 64)).to_dict() != plan().to_dict()
    assert [plan().range_of(number) for number in range(plan().count)] == [(0, 2), (2, 4), (4, 5)]


def test_a_folder_of_pictures_needs_no_ray(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    pictures = find_pictures([str(tmp_path)])
    assert isinstance(pictures, FilePictures)
    assert [Path(name).name for name in pictures.names] == ["a.png", "b.png"]
    assert "notes.txt" in pictures.left_out.notes()[0]
    assert "one after the other" in refusal(find_pictures, [str(tmp_path), str(tmp_path / "c.parquet")])


def test_tables_below_the_output_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(cluster_pictures, "read_tables", read.extend)
    (tmp_path / "judged" / "shards.part").mkdir(parents=True)
    for name in ("a.parquet", "judged/part-00000.parquet", "judged/shards.part/part-00001.parquet"):
        (tmp_path / name).touch()
    find_pictures([str(tmp_path)], besides=tmp_path / "judged")
    assert read == [(tmp_path / "a.parquet").as_posix()]


def test_a_name_that_parquet_cannot_hold_is_refused_before_any_work() -> None:
    check_names("jsonl", ["a\udcff.png"])
    check_names("parquet", ["\N{LATIN SMALL LETTER U WITH DIAERESIS}.png"])
    message = refusal(check_names, "parquet", ["a.png", "a\udcff.png"])
    assert "`shard_format` parquet" in message
    assert r"'a\udcff.png'" in message


def test_what_an_actor_cannot_write_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # which an actor leaves
    opened = Opened(cast("Predictor", None), None, None)
    judge = ShardJudge(ActorWork(lambda _: opened, str(tmp_path), tmp_path, 1, 1))
    content = pickle.dumps((PickedFiles(()), tmp_path / "gone" / "part-00000.jsonl", 1))
    assert "no such file or directory" in judge({"number": 0, "shard": content})["problem"]
