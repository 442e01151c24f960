import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import gem

from gem_core.errors import GemError
from gem_core.method.encoding import calls
from gem_core.method.model import GemModel
from gem_core.method.network import hidden_states
from gem_core.method.read_out import PLAIN, TOGETHER


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=60),
    st.integers(1, 16),
    st.one_of(st.none(), st.integers(0, 100)),
)
def test_every_text_goes_in_one_call_longest_first(lengths, batch_size, call_tokens):
    cut = calls(lengths, batch_size, call_tokens)
    numbers = [number for part in cut for number in part]
    assert sorted(numbers) == list(range(len(lengths)))
    assert [lengths[i] for i in numbers] == sorted(lengths, reverse=True)
    assert all(len(part) <= batch_size for part in cut)
    if call_tokens is None:
        assert len(cut) == -(-len(lengths) // batch_size)
    else:
        assert all(len(part) * lengths[part[0]] - sum(lengths[i] for i in part) <= call_tokens for part in cut)


def test_both_plain_read_outs_come_from_one_pass(bases, settings):
    model = GemModel.load(bases("llama").folder, settings=settings)
    texts = ["one", "a longer text than the others", "two words"]
    model.read_out = TOGETHER
    assert model.dimension == 2 * 32
    both = np.split(model.encode(texts, normalize=False), 2, axis=1)
    for read_out, part in zip(PLAIN, both, strict=True):
        model.read_out = read_out
        np.testing.assert_allclose(part, model.encode(texts, normalize=False), atol=1e-5)


def test_a_text_without_a_token_is_refused_or_gives_zeros(bases, settings):
    model = GemModel.load(bases("llama").folder, settings=settings)
    model.tokenizer.bos_token = model.tokenizer.eos_token = None
    with pytest.raises(GemError, match="a blank text has no token"):
        model.encode(["one", ""])
    for read_out in (*PLAIN, TOGETHER):
        model.read_out = read_out
        found = model.encode(["", "one", ""], refuse_blank=False)
        assert not found[[0, 2]].any()
        np.testing.assert_array_equal(found[1], model.encode(["one"])[0])
        assert not model.encode([""], refuse_blank=False).any()


@pytest.mark.parametrize("begin", [True, False])
def test_a_base_reads_the_text_and_not_its_instruction(bases, settings, begin):
    model = GemModel.load(bases("llama", begin=begin).folder, settings=settings, read_out="mean")
    text, template = "the old fox", "Find what it is: {text}"
    ids = torch.tensor([model.tokenizer(template.replace("{text}", text))["input_ids"]])
    before = len(model.tokenizer("Find what it is:")["input_ids"])
    assert 0 < before < ids.shape[1]
    with torch.inference_mode():
        states = hidden_states(model.network, ids)[0].numpy()
    for read_out, expected in (("mean", states[before:].mean(axis=0)), ("last", states[-1])):
        model.read_out = read_out
        found = model.encode([text], normalize=False, template=template)[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    model.read_out = "mean"
    assert np.isfinite(model.encode([""], template=template)).all()  # of a blank text the instruction's last token


def test_special_tokens_read_the_instruction_too(bases):
    model = gem(bases("llama"), count=2)
    wrapped = model.encode(["Query: a fox", "Query: an owl"])
    np.testing.assert_allclose(model.encode(["a fox", "an owl"], template="Query: {text}"), wrapped, atol=1e-6)


def test_a_model_knows_the_template_its_queries_were_trained_with(bases, tmp_path, settings):
    def trained(*sources):
        gem(bases("llama")).save(tmp_path / "model", recipe={"data": {"sources": list(sources)}})
        return GemModel.load(tmp_path / "model", settings=settings)

    pairs = {"pairs": True, "query_template": "Query: {text}"}
    assert trained({"pairs": False, "query_template": "{text}"}, pairs, pairs).query_template == "Query: {text}"
    assert trained({"pairs": False, "query_template": "{text}"}).query_template == "{text}"
    assert gem(bases("llama")).query_template == "{text}"
    with pytest.raises(GemError, match="several templates for queries"):
        _ = trained(pairs, pairs | {"query_template": "Claim: {text}"}).query_template


def test_the_command_embeds_queries_in_the_template_of_the_training(bases, gem_here, tmp_path):
    def embedded(*arguments):
        status, out, err = gem_here("encode", tmp_path / "model", *arguments, "--json")
        assert (status, err) == (0, "")
        rows = json.loads(out)
        return [row["text"] for row in rows], np.array([row["embedding"] for row in rows])

    pairs = {"pairs": True, "query_template": "Query: {text}"}
    gem(bases("llama")).save(tmp_path / "model", recipe={"data": {"sources": [pairs]}})
    texts = ["the old fox", "a heron sings"]
    said, queries = embedded("--query", *texts)
    _, passages = embedded(*texts)
    _, wrapped = embedded("Query: the old fox", "Query: a heron sings")
    assert said == texts, "what is shown is the text, not what it was wrapped in"
    np.testing.assert_allclose(queries, wrapped, atol=1e-6)
    assert np.abs(queries - passages).max() > 1e-3
    status, out, _ = gem_here("encode", tmp_path / "model", "--query", *texts)
    assert status == 0
    np.testing.assert_allclose([[float(x) for x in line.split()] for line in out.splitlines()], queries, atol=1e-6)


def test_a_command_for_queries_of_several_templates_is_refused_in_one_line(bases, gem_here, tmp_path):
    sources = [{"pairs": True, "query_template": f"{word}: {{text}}"} for word in ("Query", "Claim")]
    gem(bases("llama")).save(tmp_path / "model", recipe={"data": {"sources": sources}})
    status, out, err = gem_here("encode", tmp_path / "model", "--query", "a fox")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "several templates for queries ('Query: {text}', 'Claim: {text}')" in err
