"""``gem compare`` on what is recorded of two folders: nothing is loaded, nothing is measured."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from gem_core.evaluation.plan import PlannedTask
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured, ScoreStore
from gem_core.identity import content_digest


@pytest.fixture
def model(tmp_path):
    """Makes a model folder, with a recorded score if asked."""

    def make(name, value=None, fewshot=0):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"name": name}))
        save_file({"weight": np.ones(100, np.float32)}, folder / "model.safetensors")
        if value is not None:
            planned = PlannedTask("language", "arc", {"kind": "language", "task": "arc", "fewshot": fewshot})
            made = TaskScore(
                task="arc", kind="language", read_out="", metric="acc", value=value, items=9, settings=planned.digest
            )
            store = ScoreStore(tmp_path / "home" / "scores")
            store.save(content_digest(folder), planned, "", Measured((made,), None, 1.0))
        return folder

    return make


def test_a_table_a_verdict_and_a_page(gem_here, model, tmp_path):
    page = tmp_path / "report.html"
    status, out, err = gem_here("compare", model("one", 40.0), model("two", 50.0), "--html", page)
    assert (status, err) == (0, "")
    assert "+10.00" in out
    assert "Task by task: 1 no interval" in out
    assert "<h1>" in page.read_text()


def test_one_json_document(gem_here, model):
    status, out, _ = gem_here("compare", model("one", 40.0), model("two", 50.0, fewshot=5), "--json")
    document = json.loads(out)
    assert status == 0
    assert document["first"]["digest"] != document["second"]["digest"]
    (row,) = document["comparison"]["rows"]
    assert (row["verdict"], row["difference"]) == ("not comparable", None)
    assert "fewshot 0 and 5" in row["reason"]


def test_mistakes_are_one_line(gem_here, model, tmp_path):
    one, two, unknown = model("one", 40.0), model("two", 50.0), model("three")
    broken = model("broken", 1.0)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    for arguments, expected in (
        ((one, unknown), "nothing was measured of"),
        ((one, two, "--html", tmp_path / "nowhere" / "page.html"), "there is no folder"),
        ((one, two, "--html", tmp_path), "cannot write"),
        ((one, two, "--suite", "sandbox", "--tasks", "arc"), "give either --suite NAME"),
        ((one, broken), "is damaged"),
    ):
        status, out, err = gem_here("compare", *arguments)
        assert (status, out, err.strip().count("\n")) == (1, "", 0), arguments
        assert expected in err
