"""Writing on from prompts, and what the base makes of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from gem_core.evaluation.continuations import Reader, distinct, looked_at, reader_of
from gem_core.evaluation.plan import plan
from gem_core.evaluation.run import cached, evaluate
from gem_core.evaluation.store import ScoreStore
from gem_core.evaluation.texts import evaluation_texts
from gem_core.identity import content_digest
from gem_core.judging.comparison import compare
from gem_core.judging.gates import judge
from gem_core.method.model import GemModel
from gem_core.method.network import load_network, load_tokenizer
from gem_core.recipe import Evaluation, Gate

SEED = 7
"""Of the miniature sandbox in ``conftest.py``."""
ASKED = {"prompts": "sandbox", "decoding": ["greedy", "sampled"], "count": 12, "prompt_words": 5, "max_new_tokens": 8}


def asking(**changes):
    return Evaluation.model_validate({"sandbox": SEED, "generation": ASKED | changes})


@pytest.fixture(scope="module")
def base_scores(sandbox, shared):
    return evaluate(sandbox.base_model, "the base", asking(), shared)


def table(settings, score):
    return parquet.read_table(settings.scores / score.records).to_pylist()


def test_repetition_by_hand():
    assert distinct([1, 2, 3, 4, 1, 2, 3, 4]) == 4 / 5
    assert distinct([1] * 9) == 1 / 6
    assert (distinct([]), distinct([1, 1])) == (0.0, 1.0)
    assert looked_at([], 0.0, 8) == {
        "tokens": 0, "loglikelihood": 0.0, "likelihood": 0.0, "distinct": 0.0, "length": 0.0
    }  # fmt: skip


@given(st.lists(st.integers(0, 3), min_size=4, max_size=40))
def test_saying_it_twice_repeats_and_saying_it_shorter_never_repeats_more(tokens):
    assert 0 < distinct(tokens) <= 1
    assert distinct(tokens + tokens) <= 0.5 + 4 / len(tokens)


def test_a_model_is_asked_to_write_and_its_base_reads(base_scores, shared, sandbox):
    names = {
        f"generation.{way}-{aspect}" for way in ("greedy", "sampled") for aspect in ("likelihood", "distinct", "length")
    }
    assert set(base_scores.metrics()) == names, "no average over things that have none"
    assert base_scores.missing == {}
    store = ScoreStore(shared.scores)
    model = GemModel.load(sandbox.base_model, settings=shared)
    for way in ("greedy", "sampled"):
        (likelihood,) = base_scores.measured(f"generation.{way}-likelihood")
        rows = table(shared, likelihood)
        assert len(rows) == likelihood.items == len({row["item"] for row in rows}) == 12
        assert all(len(row["prompt"].split()) == 5 for row in rows)
        for aspect in ("likelihood", "distinct", "length"):
            (score,) = base_scores.measured(f"generation.{way}-{aspect}")
            items = store.items(score)[score.task]
            assert score.value == pytest.approx(np.mean(list(items.values())))
            assert 0 <= score.value <= 100
        (perplexity,) = (s for s in base_scores.tasks if s.metric == "perplexity" and s.task == likelihood.task)
        tokens, total = (sum(row[name] for row in rows) for name in ("tokens", "loglikelihood"))
        assert perplexity.value == pytest.approx(np.exp(-total / tokens))
        row = rows[3]
        before, whole = (
            model.tokenizer(text)["input_ids"] for text in (row["prompt"], row["prompt"] + row["continuation"])
        )
        with torch.inference_mode():
            logits = model.causal_lm()(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
        asked = range(len(before), len(whole))
        assert row["tokens"] == len(asked)
        assert row["loglikelihood"] == pytest.approx(sum(float(logits[i - 1, whole[i]]) for i in asked), abs=1e-3)


def test_greedy_continuations_are_those_of_the_model(base_scores, shared, sandbox):
    model = GemModel.load(sandbox.base_model, settings=shared)
    (score,) = base_scores.measured("generation.greedy-length")
    for row in table(shared, score)[:3]:
        assert row["continuation"] == model.generate(row["prompt"], max_new_tokens=8)


def test_an_adapter_that_changes_nothing_writes_what_its_base_writes(base_scores, gem_folder, sandbox, shared):
    reader = Reader(sandbox.base_model, content_digest(sandbox.base_model))
    assert reader_of(gem_folder, shared).digest == reader.digest
    candidate = evaluate(gem_folder, "a model", asking(), shared)
    assert candidate == evaluate(gem_folder, "a model", asking(), shared, reader=reader)
    assert candidate.points() == base_scores.points()
    assert cached(candidate.model, asking(), shared, reference="a model", reader=reader.digest) == candidate
    assert cached(candidate.model, asking(), shared, reader="another base") is None
    store = ScoreStore(shared.scores)
    gates = [
        Gate(name="writes-on", metric="generation", each=True, against="base", test="non-inferiority", at_least=-20),
        Gate(name="one", metric="generation.greedy-*", against="base", at_least=0),
    ]
    report = judge(candidate, base_scores, None, gates, records=store.items)
    assert len(report.results) == 7
    assert report.results[0].name == "writes-on:greedy-likelihood"
    assert {result.verdict for result in report.results} == {"pass"}
    rows = compare(base_scores, candidate, records=store.items).rows
    assert {row.level for row in rows} == {"task"}
    assert {row.category for row in rows} == {"continuations"}


def test_a_model_that_repeats_itself_is_seen(sandbox, shared, tmp_path):
    """Logits thirty times as large: it always takes its likeliest token, and what it writes goes round in loops."""
    network = load_network(sandbox.base_model, dtype=torch.float32, attention="sdpa")
    network.get_output_embeddings().weight.data.mul_(30.0)
    network.save_pretrained(tmp_path / "model")
    load_tokenizer(sandbox.base_model).save_pretrained(tmp_path / "model")
    reader = Reader(sandbox.base_model, content_digest(sandbox.base_model))
    longer = asking(max_new_tokens=24, decoding=["sampled"])
    base, scores, alone = (
        evaluate(folder, name, longer, shared, reader=by)
        for folder, name, by in (
            (sandbox.base_model, "the base", reader),
            (tmp_path / "model", "loops", reader),
            (tmp_path / "model", "loops", None),
        )
    )
    gate = {"name": "varied", "against": "base", "test": "non-inferiority", "at_least": -1}
    gate = Gate(metric="generation.sampled-distinct", **gate)
    assert judge(scores, base, None, [gate], records=ScoreStore(shared.scores).items).verdict == "fail"
    (result,) = judge(alone, base, None, [gate], records=ScoreStore(shared.scores).items).results
    assert "settings differ" in result.reason, "another reader is another measurement"


def test_a_limit_takes_the_first_prompts_and_says_so(base_scores, sandbox, settings, shared):
    scores = evaluate(sandbox.base_model, "the base", asking(limit=4, decoding=["greedy"]), settings)
    (few,), (all_of,) = (one.measured("generation.greedy-length") for one in (scores, base_scores))
    assert few.limited
    assert not all_of.limited
    kept = ("item", "continuation")
    assert [[row[k] for k in kept] for row in table(settings, few)] == [
        [row[k] for k in kept] for row in table(shared, all_of)[:4]
    ]


def test_prompts_from_a_file_are_known_by_its_content(sandbox, settings, tmp_path):
    lines = [f"line {n} has quite a few words to begin with" for n in range(9)]
    file = tmp_path / "held_out.txt"
    file.write_text("\n".join([*lines, "too short", lines[0]]))
    evaluation = asking(prompts=str(file), decoding=["greedy"])
    (before,) = plan(evaluation, reader="base")
    scores = evaluate(sandbox.base_model, "the base", evaluation, settings)
    rows = table(settings, scores.measured("generation.greedy-length")[0])
    assert {row["prompt"] for row in rows} == {" ".join(line.split()[:5]) for line in lines}
    assert {text for _, text in evaluation_texts(evaluation, settings)} == {row["prompt"] for row in rows}
    file.write_text("\n".join(lines[1:]))
    (after,) = plan(evaluation, reader="base")
    assert before.digest != after.digest != plan(evaluation, reader="another")[0].digest


@pytest.mark.parametrize(
    ("content", "why"), [(None, "does not exist"), ("short\nlines", "no text of more than 5 words")]
)
def test_prompts_that_cannot_be_had_are_missing_and_the_gate_is_open(sandbox, settings, tmp_path, content, why):
    file = tmp_path / "held_out.txt"
    if content is not None:
        file.write_text(content)
    scores = evaluate(sandbox.base_model, "the base", asking(prompts=str(file), decoding=["greedy"]), settings)
    assert why in scores.missing["generation.greedy"]
    gate = Gate(name="varied", metric="generation.greedy-distinct", against="base", at_least=0)
    result = judge(scores, scores, None, [gate]).results[0]
    assert result.verdict == "inconclusive"
    assert why in result.reason
    assert not list(evaluation_texts(asking(prompts=str(file)), settings))


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"count": 13}, {"greedy", "sampled"}),
        ({"max_new_tokens": 9}, {"greedy", "sampled"}),
        ({"temperature": 0.5}, {"sampled"}),
        ({"decoding": ["sampled"]}, set()),
    ],
)
def test_what_can_move_a_continuation_moves_its_digest(changes, moved):
    before, after = ({task.task: task.digest for task in plan(one)} for one in (asking(), asking(**changes)))
    assert {task for task in after if before[task] != after[task]} == moved


def test_what_has_no_average_is_refused_as_one():
    with pytest.raises(ValidationError, match="generation has no average"):
        Gate(name="writes", metric="generation", against="base", at_least=0)
    with pytest.raises(ValidationError, match=r"evaluation\.sandbox"):
        Evaluation.model_validate({"generation": {"prompts": "sandbox"}})
