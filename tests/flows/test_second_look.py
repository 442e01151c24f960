"""A gate that stays open and asks for more items gets them, truly measured on a small sandbox."""

import pytest
import torch

from flows.outcome import Comparison
from flows.second_look import second_look
from gem_core.evaluation.run import evaluate
from gem_core.evaluation.store import ScoreStore
from gem_core.judging.gates import judge
from gem_core.judging.more_items import read_at_half
from gem_core.method.network import load_network, load_tokenizer
from gem_core.recipe import Recipe
from gem_core.sandbox import build
from gem_core.settings import Settings

GATE = {
    "name": "keeps-the-language", "metric": "language", "against": "base", "test": "non-inferiority",
    "inconclusive": "more-items",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(sandbox_home):
    return Settings(home=sandbox_home, tracking_uri=None)


@pytest.fixture(scope="module")
def folders(settings, tmp_path_factory):
    """The sandbox's base, and one that differs from it by a hair."""
    base = build(settings.home, 2).base_model
    other = tmp_path_factory.mktemp("candidate") / "model"
    network = load_network(base, dtype=torch.float32, attention="sdpa")
    network.get_input_embeddings().weight.data.mul_(1.0001)
    network.save_pretrained(other)
    load_tokenizer(base).save_pretrained(other)
    return {"base": base, "candidate": other}


def looked(settings, folders, *, limit, margin, inconclusive="more-items"):
    """The comparison before and after a second look, its report, and what was measured again."""
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base_model": {"source": "sandbox:2"},
            "data": {"sources": [{"source": "sandbox:2"}]},
            "evaluation": {"sandbox": 2, "language": {"tasks": ["sandbox_mmlu"], "fewshot": 0, "limit": limit}},
            "gates": [{**GATE, "at_least": margin, "inconclusive": inconclusive}],
        }
    )
    measured = []

    def score(role, evaluation):
        measured.append(role)
        return evaluate(folders[role], role, evaluation, settings)

    first = Comparison(
        baseline=score("base", recipe.evaluation),
        candidate=score("candidate", recipe.evaluation),
        champion=None,
        champion_version=None,
    )
    del measured[:]
    store = ScoreStore(settings.scores)
    second = second_look(recipe, first, store, score)
    gates = read_at_half(recipe.gates, second.looked_twice)
    return first, second, judge(second.candidate, second.baseline, None, gates, records=store.items), measured


def test_what_two_questions_a_subject_leave_open_more_decide(settings, folders):
    first, second, report, measured = looked(settings, folders, limit=2, margin=-15)
    assert measured == ["base", "candidate"]
    assert first.candidate.limited("language")
    items = [one.candidate.measured("language")[0].items for one in (first, second)]
    assert items[1] > 2 * items[0]
    assert report.verdict == "pass"
    assert report.results[0].level == 0.025


def test_what_all_questions_leave_open_stays_open_and_says_so(settings, folders):
    _, second, report, measured = looked(settings, folders, limit=2, margin=-0.5)
    assert measured == ["base", "candidate"]
    assert not second.candidate.limited("language")
    assert (report.verdict, report.next_step, report.exhausted) == ("inconclusive", "more-items", True)
    assert report.needed_items > report.results[0].items


@pytest.mark.parametrize(
    "asked", [{"limit": None, "margin": -0.5}, {"limit": 2, "margin": -0.5, "inconclusive": "human"}]
)
def test_nothing_is_measured_again_where_nothing_is_left_or_nobody_asks(settings, folders, asked):
    first, second, report, measured = looked(settings, folders, **asked)
    assert measured == []
    assert second == first
    assert report.results[0].level == 0.05
