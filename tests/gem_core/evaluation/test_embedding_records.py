"""Every kind of mteb task, on mteb's own miniature tasks: scores of subsets apart, and records that give the score."""

import json

import numpy as np
import pytest
from mteb.mocks import mock_tasks
from mteb.mocks.mock_tasks import clustering

from gem_core.evaluation.counted_statistics import of_records
from gem_core.evaluation.mteb import EmbeddingSuite, EmbeddingTasks
from gem_core.evaluation.plan import PlannedTask
from gem_core.evaluation.store import ScoreStore
from gem_core.method.model import GemModel

KINDS = [
    "MockSTSTask",
    "MockMultilingualSTSTask",
    "MockMultilingualPairClassificationTask",
    "MockClassificationTask",
    "MockMultilingualClassificationTask",
    "MockMultilabelClassification",
    "MockMultilingualRetrievalTask",
    "MockRerankingTask",
    "MockMultilingualClusteringTask",
    "MockMultilingualClusteringFastTask",
    "MockBitextMiningTask",
    "MockSummarizationTask",
]

MODULES = {"MockMultilingualClusteringTask": clustering}
"""Where a miniature is that mteb does not name beside the others."""


@pytest.fixture(scope="module")
def model(bases, tmp_path_factory):
    from gem_core.settings import Settings

    settings = Settings(home=tmp_path_factory.mktemp("home"))
    return GemModel.load(bases("llama").folder, settings=settings)


class Miniature(EmbeddingTasks):
    """mteb's miniature of the name that is asked for."""

    def make(self, planned):
        return getattr(MODULES.get(planned.task, mock_tasks), planned.task)()


@pytest.mark.parametrize("kind", KINDS)
def test_subsets_are_kept_apart_and_records_give_their_score(model, tmp_path, kind):
    planned = PlannedTask(
        "embedding", kind, {"batch_size": 4, "max_length": 32, "languages": ["eng"], "instruction": None}
    )
    measured = EmbeddingSuite(model, "d" * 64, Miniature(tmp_path), ["mean"]).measure(planned, "mean")
    store = ScoreStore(tmp_path / "scores")
    whole, *leaves = store.save("d" * 64, planned, "mean", measured).scores
    assert bool(leaves) == ("Multilingual" in kind)
    assert all(leaf.subtask_of == whole.task and leaf.task.startswith(f"{whole.task}/") for leaf in leaves)
    if leaves:
        assert np.mean([leaf.value for leaf in leaves]) == pytest.approx(whole.value)
        assert sum(leaf.items for leaf in leaves) == whole.items
    for leaf in leaves or [whole]:
        items = store.items(leaf)
        if items:
            of_leaf = next(iter(items.values())) if leaf is whole else items[leaf.task]
            assert np.mean(list(of_leaf.values())) == pytest.approx(leaf.value, abs=1e-2)
    for leaf in leaves or [whole]:
        if leaf.metric in ("max_ap", "v_measure"):
            number, value = of_records(leaf.metric, store.predictions(leaf))
            assert value(np.ones((1, number)))[0] == pytest.approx(leaf.value, abs=1e-6)
    if measured.records is not None:
        for row in measured.records.to_pylist():
            json.loads(row["prediction"])
            json.loads(row["gold"])
