import numpy as np
import pytest
import torch

from gem_core.evaluation.language import LanguageSuite, LanguageTasks
from gem_core.evaluation.language_records import scores_and_rows
from gem_core.evaluation.plan import PlannedTask
from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, SpecialTokens

PLANNED = PlannedTask("language", "exam", {"task": "exam"})


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gpt2"])
@pytest.mark.parametrize("adaptation", [{"method": "lora"}, {"method": "full"}, {"scope": "special"}], ids=str)
def test_the_harness_leaves_the_model_as_it_is(bases, settings, tmp_path, family, adaptation):
    made = GemModel.from_base(
        bases(family), special_tokens=SpecialTokens(), adaptation=Adaptation(**adaptation), seed=1
    )
    with torch.no_grad():
        for weight in made.network.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    made.save(tmp_path / "model")
    model = GemModel.load(tmp_path / "model", settings=settings)
    ending = () if model.lossless else model.special_ids  # a lossless model's output layer is the base's
    ids = torch.tensor([[5, 6, 7, 8, *ending]], device=model.device)
    texts = ["The quick fox sings.", "An owl"]
    logits, vectors = model.causal_lm()(ids).logits, model.encode(texts)
    suite = LanguageSuite(model, 4, LanguageTasks((), tmp_path))
    torch.testing.assert_close(suite.model.model(ids).logits, logits, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(model.encode(texts), vectors, atol=1e-5)


def results(*, metrics, better, samples=None, effective=2, original=2, tasks=("exam",)):
    samples = samples or [{"acc": 1.0}, {"acc": 0.0}]
    whole = [
        {"doc_id": index, "doc_hash": f"{index:064}", "filter": "none", "filtered_resps": [(-1.0, True), (-2.0, False)]}
        | {"target": 0}
        | sample
        for index, sample in enumerate(samples)
    ]
    return {
        "results": {task: {"alias": task, "sample_len": 2, **metrics} for task in tasks},
        "higher_is_better": dict.fromkeys(tasks, better),
        "n-samples": {task: {"original": original, "effective": effective} for task in tasks},
        "samples": dict.fromkeys(tasks, whole),
    }


def test_accuracy_is_preferred_and_a_perplexity_kept_beside_it():
    found, rows = scores_and_rows(
        results(
            metrics={"perplexity,none": 12.0, "acc_norm,none": 1.0, "acc,none": 0.5, "acc_stderr,none": "N/A"},
            better={"acc": True, "acc_norm": True, "perplexity": False},
        ),
        PLANNED,
        is_group=False,
    )
    assert {(score.metric, score.value, score.higher_is_better) for score in found} == {
        ("acc", 50.0, True),
        ("perplexity", 12.0, False),
    }
    assert [row["score"] for row in rows] == [1.0, 0.0]
    assert {score.subtask_of for score in found} == {None}


def test_of_several_filters_the_first_is_the_score():
    found, rows = scores_and_rows(
        results(
            metrics={"exact_match,strict": 0.5, "exact_match,flexible": 1.0},
            better={"exact_match": True},
            samples=[
                {"filter": "strict", "exact_match": 1.0, "filtered_resps": ["4"]},
                {"filter": "flexible", "exact_match": 1.0, "filtered_resps": ["4"]},
                {"filter": "strict", "exact_match": 0.0, "filtered_resps": ["5"]},
                {"filter": "flexible", "exact_match": 1.0, "filtered_resps": ["5"]},
            ],
        ),
        PLANNED,
        is_group=False,
    )
    assert [(score.metric, score.value) for score in found] == [("exact_match", 50.0)]
    assert [row["score"] for row in rows] == [1.0, 0.0]
    assert {(row["choice"], row["loglikelihoods"]) for row in rows} == {(None, None)}


def test_a_score_knows_what_was_asked():
    """A hub's data may change under the name that the harness has for it; the settings are the same then."""

    def asked(samples, tasks=("exam",), is_group=False):
        found = results(metrics={"acc,none": 0.5}, better={"acc": True}, samples=samples, tasks=tasks)
        return scores_and_rows(found, PLANNED, is_group=is_group)[0][0].questions

    before, after = [{"acc": 1.0}, {"acc": 0.0}], [{"acc": 1.0}, {"acc": 0.0, "doc_hash": "f" * 64}]
    assert asked(before) == asked([*reversed(before)]) != asked(after)
    leaves = ("exam_law", "exam_maths")
    assert asked(before, leaves, is_group=True) == asked(before, leaves[::-1], is_group=True)
    assert asked(before, leaves, is_group=True) != asked(after, leaves, is_group=True)


def test_a_group_comes_first_and_weighs_its_leaves_alike():
    whole = results(metrics={"acc,none": 0.5}, better={"acc": True}, tasks=("exam_law", "exam_maths"))
    whole["results"]["exam_maths"]["acc,none"] = 0.9
    whole["n-samples"]["exam_maths"] = {"original": 1000, "effective": 10}
    found, _ = scores_and_rows(whole, PLANNED, is_group=True)
    assert [(score.task, score.subtask_of) for score in found] == [
        ("exam", None),
        ("exam_law", "exam"),
        ("exam_maths", "exam"),
    ]
    assert found[0].value == pytest.approx(70.0)
    assert (found[0].items, found[0].limited) == (12, True)


def test_only_a_perplexity_gives_no_score_to_compare():
    found, rows = scores_and_rows(
        results(metrics={"word_perplexity,none": 30.0}, better={"word_perplexity": False}, samples=[{}, {}]),
        PLANNED,
        is_group=False,
    )
    assert [score.higher_is_better for score in found] == [False]
    assert rows == []
