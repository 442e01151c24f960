"""What versions wrote, as the page Versions shows it: read from the score store, where real models have written."""

import shutil

import pytest
from garden import NAME, SENTENCES, use
from test_pages import open_app, text_of

from gem_core.evaluation.continuations import Reader
from gem_core.evaluation.run import evaluate
from gem_core.recipe import Evaluation
from gem_core.records.registry import Registry
from gem_core.settings import Settings

PROMPTS = [" ".join(text.split()[:3]) for text in SENTENCES]


@pytest.fixture(scope="module")
def written(filled, tmp_path_factory):
    """A copy of the store in which the base, v2 and v4 have written on from three prompts, and v1 has not."""
    home = tmp_path_factory.mktemp("written") / "home"
    shutil.copytree(filled.home, home)
    settings = Settings(home=home, tracking_uri=None)
    texts = home / "texts.txt"
    texts.write_text("\n".join(SENTENCES))
    asked = {"prompts": str(texts), "split": "train", "decoding": ["greedy", "sampled"], "max_new_tokens": 8}
    evaluation = Evaluation.model_validate({"generation": {**asked, "prompt_words": 3, "limit": 3}})
    reader = Reader(filled.base.folder, filled.base.digest)
    folders = {"base": filled.base.folder} | {f"v{n}": Registry(settings).download(NAME, n) for n in "24"}
    scores = {label: evaluate(folder, label, evaluation, settings, reader=reader) for label, folder in folders.items()}
    return home, scores


@pytest.fixture
def page(written, monkeypatch):
    """Opens the page on that store."""
    use(monkeypatch, written[0])
    return open_app


def table(app, column):
    (found,) = (one.value for one in app.dataframe if column in one.value.columns)
    return found


def test_continuations_stand_side_by_side_with_their_figures(page, written):
    app = page(version="v4")
    assert not app.exception
    assert [one.value for one in app.subheader if one.value == "What it writes"]
    figures = table(app, "perplexity").set_index("model")
    assert figures.index.tolist() == ["base", "v2", "v4"]
    for model, scores in written[1].items():
        value = {score.metric: score.value for score in scores.tasks if score.task.startswith("greedy")}
        row = figures.loc[model]
        assert row["repetition"] == pytest.approx(100 - value["distinct"])
        assert [row[name] for name in ("likelihood", "perplexity", "length")] == pytest.approx(
            [value[name] for name in ("likelihood", "perplexity", "length")]
        )
    texts = table(app, "prompt")
    assert texts.columns.tolist() == ["prompt", "base", "v2", "v4"]
    assert len(texts) == 3
    assert set(texts["prompt"]) <= set(PROMPTS)
    assert "The first 3 prompts, a quick look, the same for all; at most 8 tokens" in text_of(app)


def test_a_prompt_is_read_and_kept_in_the_address(page):
    app = page(version="v4", decoding="sampled")
    assert app.selectbox(key="decoding").value == "sampled"
    prompts = app.selectbox(key="prompt").options
    app = app.selectbox(key="prompt").select(prompts[2]).run()
    assert app.query_params["prompt"] == prompts[2]
    assert "drawn from the model's distribution" in text_of(app)
    cards = [one.value for one in app.markdown if one.value.startswith(f":gray[{prompts[2]}")]
    assert len(cards) == 3
    assert sum("tokens · likelihood" in one.value for one in app.caption) == 3


def test_who_has_not_written_is_named_and_nothing_is_shown_of_those_alone(page):
    app = page(version="v4", beside=["base", "v1"])
    assert table(app, "perplexity")["model"].tolist() == ["base", "v4"]
    assert "Nothing under these settings is recorded here of v1." in text_of(app)
    alone = page(version="v1", beside=["base", "v4"])
    assert not alone.exception
    assert "What it writes" not in [one.value for one in alone.subheader]
