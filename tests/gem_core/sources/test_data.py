import json
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer

from gem_core.errors import GemError
from gem_core.recipe import Data
from gem_core.sandbox import Sandbox, SandboxSpec
from gem_core.sources import data as data_module
from gem_core.sources.data import PreparedData, prepare
from gem_core.sources.rows import CONTRASTIVE, Rows

TEXTS = [f"The old fox number {number} waits by the cold river." for number in range(20)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def base(bases):
    return bases("llama")


@pytest.fixture
def run(base, settings, tmp_path):
    """Prepare sources given as dicts; keywords go to ``data`` but for seed, base and folder."""

    def run(*sources, seed=1, base=base, folder=tmp_path / "rows", progress=None, **options):
        data = Data.model_validate({"sources": list(sources), **options})
        return prepare(data, base, seed=seed, folder=folder, settings=settings, progress=progress)

    return run


def write(path, texts):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts, "n": [1] * len(texts)}), path)
    else:
        path.write_text("".join(f"{text}\n" for text in texts))
    return {"source": str(path)}


def rows_of(prepared):
    rows = Rows.open(prepared.folder)
    return [rows[number].tolist() for number in range(len(rows))]


def tokens(base, texts):
    return AutoTokenizer.from_pretrained(base.folder)(list(texts))["input_ids"]


@pytest.mark.parametrize("ending", ["txt", "jsonl", "parquet"])
def test_rows_are_what_the_tokenizer_makes_of_the_texts(run, base, tmp_path, ending):
    prepared = run(write(tmp_path / f"texts.{ending}", TEXTS))
    assert sorted(rows_of(prepared)) == sorted(tokens(base, TEXTS))
    assert rows_of(prepared) != tokens(base, TEXTS), "not shuffled"
    assert (prepared.rows, prepared.tokens) == (20, sum(map(len, tokens(base, TEXTS))))
    assert prepared.mean_length == prepared.tokens / 20


def test_the_same_texts_in_another_kind_of_file_are_the_same_rows(run, tmp_path):
    made = [run(write(tmp_path / f"t.{kind}", TEXTS), folder=tmp_path / kind) for kind in ("txt", "jsonl", "parquet")]
    assert rows_of(made[0]) == rows_of(made[1]) == rows_of(made[2])


def test_a_leading_bos_stays_and_a_trailing_eos_goes(run, bases, tmp_path):
    base = bases("llama", begin=True)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    folder = tmp_path / "with-eos"
    tokenizer.save_pretrained(folder)
    both = type(base)(str(folder), "r", folder, "other digest", None)
    source = write(tmp_path / "texts.txt", TEXTS)
    assert tokens(both, ["a"])[0][-1] == 1
    assert rows_of(run(source, base=both)) == rows_of(run(source, base=base, folder=tmp_path / "bos"))
    assert all(row[0] == 0 and row[-1] != 1 for row in rows_of(run(source, base=both)))


def test_the_seed_fixes_everything(run, tmp_path):
    source = write(tmp_path / "texts.txt", TEXTS) | {"rows": 10}
    one, again, other = (
        run(source, seed=seed, folder=tmp_path / name) for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert one.digest == again.digest != other.digest
    assert rows_of(one) == rows_of(again)
    assert sorted(rows_of(one)) != sorted(rows_of(other)), "drew the same rows"
    assert len({tuple(row) for row in rows_of(one)}) == 10, "drew a row twice"


def test_what_is_there_is_found_and_what_changed_is_made_again(run, tmp_path):
    source = write(tmp_path / "texts.txt", TEXTS)
    first = run(source)
    times = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert run(source) == first
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times
    write(tmp_path / "texts.txt", TEXTS[:15])
    changed = run(source)
    assert (changed.rows, changed.digest == first.digest) == (15, False)
    assert PreparedData.from_json(json.loads(json.dumps(changed.to_json()))) == changed


def test_a_damaged_summary_is_made_again(run, tmp_path):
    source = write(tmp_path / "texts.txt", TEXTS)
    first = run(source)
    (first.folder / "data.json").write_text("{")
    assert run(source) == first


def test_sources_are_joined(run, base, tmp_path):
    sources = [write(tmp_path / "a.txt", TEXTS), write(tmp_path / "b.parquet", ["Another text."] * 3) | {"rows": 2}]
    prepared = run(*sources)
    assert prepared.rows == 22
    assert rows_of(prepared).count(tokens(base, ["Another text."])[0]) == 2
    assert [source.rows for source in prepared.sources] == [None, 2]
    assert all(len(source.revision) == 64 for source in prepared.sources)


LONG = ("the fox " * 50).strip()


def test_long_rows_are_cut(run, tmp_path):
    prepared = run(write(tmp_path / "t.txt", [*TEXTS, LONG]), max_length=40)
    assert (prepared.rows, prepared.truncated, prepared.dropped) == (21, 1, 0)
    assert max(map(len, rows_of(prepared))) == 40


def test_long_rows_are_dropped(run, tmp_path):
    prepared = run(write(tmp_path / "t.txt", [*TEXTS, LONG]), max_length=40, on_long="drop")
    assert (prepared.rows, prepared.truncated, prepared.dropped) == (20, 0, 1)


def test_long_rows_are_refused_by_name_and_nothing_is_left(run, base, tmp_path):
    length = len(tokens(base, [LONG])[0])
    with pytest.raises(GemError, match=rf"row 8 of .*t.txt has {length} tokens, the limit is 40"):
        run(write(tmp_path / "t.txt", [*TEXTS[:7], LONG, *TEXTS[7:]]), max_length=40, on_long="refuse")
    assert not list(tmp_path.glob("rows*"))


def test_blank_and_single_token_rows_are_skipped_and_counted(run, tmp_path):
    source = write(tmp_path / "t.jsonl", ["", "   ", "x", None, *TEXTS])
    prepared = run(source)
    assert (prepared.rows, prepared.skipped) == (20, 4)


PAIRS = [
    {"anchor": f"what does fox {n} do?", "positive": f"fox {n} waits", "negative": f"owl {n} sings",
     "negative_2": "it rains" if n % 2 else None, "label": n}
    for n in range(12)
]  # fmt: skip


def write_pairs(path, rows=PAIRS, **options):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": str(path), "pairs": True, **options}


def test_pairs_are_groups_of_anchor_positive_and_negatives(run, base, tmp_path):
    blank = {"anchor": "", "positive": "nothing was asked", "negative": "owl", "negative_2": None, "label": 0}
    prepared = run(write_pairs(tmp_path / "p.jsonl", [*PAIRS, blank], query_template="Query: {text}"))
    rows = Rows.open(prepared.folder)
    assert (prepared.rows, prepared.skipped) == (12, 1)
    found = sorted([text.tolist() for text in rows.group(number)] for number in range(12))
    expected = [
        tokens(base, ["Query: " + row["anchor"], *filter(None, (row["positive"], row["negative"], row["negative_2"]))])
        for row in PAIRS
    ]
    assert found == sorted(expected)
    assert set(rows.uses.tolist()) == {CONTRASTIVE}
    assert prepared.tokens == sum(len(text) for row in expected for text in row)
    assert run(write_pairs(tmp_path / "p.jsonl", [*PAIRS, blank])).digest != prepared.digest  # another template


def test_sources_are_mixed_and_keep_what_they_serve(run, tmp_path):
    replay = write(tmp_path / "t.txt", TEXTS) | {"use": ["raw"]}
    prepared = run(replay, write_pairs(tmp_path / "p.jsonl"), write(tmp_path / "u.jsonl", TEXTS[:5]))
    rows = Rows.open(prepared.folder)
    assert np.bincount(rows.uses, minlength=8).tolist() == [0, 20, 0, 0, 12, 0, 0, 5]
    assert {len(rows.group(number)) for number in np.flatnonzero(rows.uses == CONTRASTIVE)} == {3, 4}
    again = run(replay, write_pairs(tmp_path / "p.jsonl"), write(tmp_path / "u.jsonl", TEXTS[:5]))
    assert again == prepared  # found, not made again


def test_pairs_without_their_columns_are_refused(run, tmp_path):
    with pytest.raises(GemError, match="no column 'anchor': rename one of text, n"):
        run(write(tmp_path / "t.jsonl", TEXTS) | {"pairs": True})


def test_a_text_that_cannot_be_cut_behind_its_bos_is_skipped(run, bases, tmp_path):
    prepared = run(write(tmp_path / "t.txt", ["x", *TEXTS]), base=bases("llama", begin=True))
    assert (prepared.rows, prepared.skipped) == (20, 1)


REFUSED = {
    "empty file": ("t.txt", "", "is empty"),
    "one row": ("t.txt", "A single row of text.\n", "has a single row"),
    "blank rows": ("t.txt", "\n  \n\n", "there is no text to train on"),
    "no column": ("t.jsonl", '{"a": "x", "b": 1}\n{"a": "y", "b": 2}\n', "no column 'text': .* one of a, b"),
    "numbers": ("t.jsonl", '{"text": 1}\n{"text": 2}\n', "is int64, not text"),
    "lists": ("t.jsonl", '{"text": ["a"]}\n{"text": ["b"]}\n', "not text"),
    "no json": ("t.jsonl", "not json\n", "cannot be read"),
    "no parquet": ("t.parquet", "not parquet\n", "cannot be read"),
    "unknown kind": ("t.doc", "text\n", "is of no known kind"),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_nothing_can_be_learnt_from_is_refused(run, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(GemError, match=message) as refusal:
        run({"source": str(tmp_path / name)})
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.glob("rows*"))


def test_a_file_that_is_not_there_and_too_few_rows_are_refused(run, tmp_path):
    with pytest.raises(GemError, match="does not exist"):
        run({"source": str(tmp_path / "none.txt")})
    with pytest.raises(GemError, match=r"has 20 rows, fewer than data.sources.rows \(21\)"):
        run(write(tmp_path / "t.txt", TEXTS) | {"rows": 21})


def test_a_full_disk_is_one_line_and_the_old_rows_stay(run, tmp_path):
    source = write(tmp_path / "t.txt", TEXTS)
    first = run(source)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes a file: writing more fails as a full disk does
    try:
        with pytest.raises(GemError, match=r"the rows cannot be stored .* free some space"):
            run(source, seed=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(source) == first
    assert not list(tmp_path.glob("rows.partial"))


def test_progress_rises_to_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "TEXTS_A_BATCH", 5)
    seen = []
    run(write(tmp_path / "t.txt", TEXTS), progress=lambda what, share: seen.append(share))
    assert seen == [0, 0.25, 0.5, 0.75, 1.0]


@given(texts=st.lists(st.text(max_size=80), min_size=3, max_size=12), limit=st.integers(8, 40))
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_is_lost_or_changed(run, base, tmp_path, texts, limit):
    source = write(tmp_path / "t.jsonl", [*texts, *TEXTS[:2]])
    prepared = run(source, max_length=limit)
    expected = [
        ids[:limit]
        for text, ids in zip([*texts, *TEXTS[:2]], tokens(base, [*texts, *TEXTS[:2]]), strict=True)
        if text.strip() and len(ids) > 1
    ]
    assert sorted(rows_of(prepared)) == sorted(expected)
    assert prepared.rows + prepared.skipped == len(texts) + 2


def test_the_rows_of_a_sandbox(run, settings):
    built = Sandbox.at(settings.home.resolve() / "sandbox" / f"3-{SandboxSpec().digest()}", 3)
    built.folder.mkdir(parents=True)
    write(built.training_rows, TEXTS)
    prepared = run({"source": "sandbox:3"})
    assert (prepared.rows, prepared.sources[0].source) == (20, "sandbox:3")


@pytest.mark.hub
def test_a_hub_data_set_is_pinned(run):
    prepared = run({"source": "gem-lab/books-sentences", "rows": 50})
    assert prepared.rows == 50
    assert len(prepared.sources[0].revision) == 40
    assert np.diff(Rows.open(prepared.folder).lengths).any()


@pytest.mark.hub
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"source": "gem-lab/none"}, "data set gem-lab/none was not found"),
        ({"source": "gem-lab/books-sentences", "split": "nope"}, "split nope"),
        ({"source": "gem-lab/books-sentences", "column": "nope"}, "no column 'nope'"),
    ],
)
def test_an_unknown_data_set_split_or_column_is_refused(run, source, message):
    with pytest.raises(GemError, match=message):
        run(source)
