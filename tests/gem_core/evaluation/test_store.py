import json
import logging

import pyarrow as pa
import pytest

from gem_core.errors import GemError
from gem_core.evaluation.plan import PlannedTask
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured, ScoreStore

PLANNED = PlannedTask("language", "exam", {"task": "exam", "versions": {"lm-eval": "1"}})
MODEL = "d" * 64


def measured(value=50.0, records=None):
    group = TaskScore(
        task="exam", kind="language", read_out="", metric="acc", value=value, items=3, settings=PLANNED.digest
    )
    leaf = group.model_copy(update={"task": "exam_law", "subtask_of": "exam"})
    return Measured((group, leaf), records, 1.25)


RECORDS = pa.table(
    {"task": ["exam_law", "exam_law", "exam_maths"], "item": ["0-a", "1-b", "0-c"], "score": [1.0, 0.0, 1.0]}
)


@pytest.fixture
def store(tmp_path):
    return ScoreStore(tmp_path / "scores")


def test_what_is_kept_is_found_again(store):
    kept = store.save(MODEL, PLANNED, "", measured())
    assert store.load(MODEL, PLANNED) == kept
    assert kept.seconds == 1.25


def test_whoever_shares_the_folder_may_read_what_is_kept(store):
    store.save(MODEL, PLANNED, "", measured(records=RECORDS))
    kept = [path for path in store.root.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".json", ".parquet"}
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in kept)


def test_nothing_is_shared_between_models_settings_or_read_outs(store):
    store.save(MODEL, PLANNED, "mean", measured())
    assert store.load("e" * 64, PLANNED, "mean") is None
    assert store.load(MODEL, PLANNED, "last") is None
    assert store.load(MODEL, PlannedTask("language", "exam", {"task": "exam", "versions": {"lm-eval": "2"}})) is None


def test_records_come_back_as_points_by_leaf_and_item(store):
    group, leaf = store.save(MODEL, PLANNED, "", measured(records=RECORDS)).scores
    law = {"0-a": 100.0, "1-b": 0.0}
    assert store.items(group) == {"exam_law": law, "exam_maths": {"0-c": 100.0}}
    assert store.items(leaf) == {"exam_law": law}


def test_a_score_without_records_has_no_items(store):
    (group, _) = store.save(MODEL, PLANNED, "", measured()).scores
    assert store.items(group) is None


def break_json(path):
    path.write_text(path.read_text()[:-40])


def break_content(path):
    path.write_text('{"model": "d"}')


def break_owner(path):
    path.write_text(path.read_text().replace("d" * 64, "e" * 64))


def break_records(path):
    path.with_suffix(".parquet").unlink()


def cut_records(path):
    records = path.with_suffix(".parquet")
    records.write_bytes(records.read_bytes()[:-20])


def flip_a_bit_of_the_records(path):
    records = path.with_suffix(".parquet")
    content = bytearray(records.read_bytes())
    content[len(content) // 4] ^= 1
    records.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        break_json,
        break_content,
        break_owner,
        break_records,
        cut_records,
        flip_a_bit_of_the_records,
    ],
)
def test_a_damaged_entry_is_measured_again_and_reported(store, caplog, damage):
    store.save(MODEL, PLANNED, "", measured(records=RECORDS))
    (path,) = (store.root / MODEL).glob("*.json")
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert store.load(MODEL, PLANNED) is None
    assert "measured again" in caplog.text
    again = store.save(MODEL, PLANNED, "", measured(60.0, RECORDS))
    assert store.load(MODEL, PLANNED) == again


def test_an_entry_of_an_earlier_release_is_taken(store):
    kept = store.save(MODEL, PLANNED, "", measured(records=RECORDS))
    (path,) = (store.root / MODEL).glob("*.json")
    content = json.loads(path.read_text())
    del content["records_digest"]
    path.write_text(json.dumps(content))
    assert store.load(MODEL, PLANNED) == kept.model_copy(update={"records_digest": None})


def test_records_that_cannot_be_read_are_none_and_reported(store, caplog):
    entry = store.save(MODEL, PLANNED, "", measured(records=RECORDS))
    (path,) = (store.root / MODEL).glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert store.items(entry.scores[0]) is None
    assert "cannot be read" in caplog.text


def test_a_crash_while_writing_leaves_the_old_entry(store, monkeypatch):
    kept = store.save(MODEL, PLANNED, "", measured())

    def crash(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gem_core.evaluation.store.os.fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        store.save(MODEL, PLANNED, "", measured(70.0))
    monkeypatch.undo()
    assert store.load(MODEL, PLANNED) == kept
    assert len(list((store.root / MODEL).iterdir())) == 1, "no half-written file is left behind"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "scores").write_text("a file where the folder should be")
    with pytest.raises(GemError, match="cannot keep scores in"):
        ScoreStore(tmp_path / "scores").save(MODEL, PLANNED, "", measured())


def test_a_task_name_that_is_no_file_name_is_kept_all_the_same(store):
    planned = PlannedTask("embedding", "../a/b: c", {"task": "../a/b: c"})
    store.save(MODEL, planned, "mean", measured())
    assert store.load(MODEL, planned, "mean") is not None
    assert [path.parent.name for path in store.root.rglob("*.json")] == [MODEL]
