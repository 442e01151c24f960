import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gem_core.errors import GemError
from gem_core.method.batches import Planner, TokenSequence, length_buckets, padded, share
from gem_core.recipe import Contrastive, Objective
from gem_core.sources.rows import CONTRASTIVE, EVERYTHING, RAW, Row, Rows
from gem_core.sources.rows import SPECIAL as SPECIAL_USE

BOS, SPECIAL = 1, (900, 901)
texts = st.lists(st.lists(st.integers(2, 800), min_size=2, max_size=20), min_size=2, max_size=12)


def planner(rows, *, batch_size=8, seed=3, begin=None, positions=None, **objective):
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, rows)])
    return Planner(Rows(tokens, offsets), Objective(**objective), SPECIAL, batch_size, seed, begin, positions)


def test_rows_come_back_from_disk(tmp_path):
    wanted = [[1, 2, 3], [], [4], [5, 6]]
    rows = Rows.write(tmp_path / "data", iter(wanted))
    assert len(rows) == 4
    assert [row.tolist() for row in rows] == wanted
    assert rows.lengths.tolist() == [3, 0, 1, 2]
    assert isinstance(Rows.open(tmp_path / "data")._tokens, np.memmap)


def test_no_rows_at_all(tmp_path):
    assert len(Rows.write(tmp_path, [])) == 0
    with pytest.raises(GemError, match="prepare the data again"):
        Rows.open(tmp_path / "nothing")


def identical(one, two):
    return all(
        len(a) == len(b)
        and all(np.array_equal(x.tokens, y.tokens) and x.prefix == y.prefix for x, y in zip(a, b, strict=True))
        for a, b in ((one.raw, two.raw), (one.special, two.special), (one.views, two.views))
    )


@given(texts, st.integers(0, 50))
def test_a_batch_is_a_function_of_seed_and_step(rows, step):
    assert identical(planner(rows).batch(step), planner(rows).batch(step))


def test_other_seeds_and_steps_are_other_batches():
    rows = [list(range(2 + i, 12 + i)) for i in range(50)]
    assert not identical(planner(rows).batch(0), planner(rows).batch(1))
    assert not identical(planner(rows).batch(0), planner(rows, seed=4).batch(0))


def test_every_row_comes_once_an_epoch():
    rows = [[i, i, i] for i in range(2, 26)]
    plan = planner(rows, batch_size=5, raw_share=1.0)
    seen = [int(sequence.tokens[0]) for step in range(24) for sequence in plan.batch(step).raw]
    for epoch in range(5):
        assert sorted(seen[epoch * 24 : epoch * 24 + 24]) == list(range(2, 26))


@given(texts, st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_rows_with_special_tokens_continue_or_restore_their_text(rows, raw, restore, begins):
    rows = [[BOS, *row] for row in rows] if begins else rows
    begin = int(begins)
    batch = planner(rows, begin=BOS, raw_share=raw, reconstruction_share=restore).batch(2)
    assert len(batch.raw) + len(batch.special) == 8
    for sequence in batch.raw:
        assert sequence.tokens.tolist() in rows
    for sequence in batch.special:
        prefix = sequence.tokens[: sequence.prefix].tolist()
        special = sequence.tokens[sequence.prefix : sequence.prefix + 2].tolist()
        suffix = sequence.tokens[sequence.prefix + 2 :].tolist()
        assert special == list(SPECIAL)
        assert len(prefix) > begin
        assert len(suffix) >= 1
        assert prefix + suffix in rows or (prefix in rows and suffix == prefix[begin:])


def test_shares_are_met_on_average():
    rows = [list(range(2, 12)) for _ in range(40)]
    plan = planner(rows, batch_size=7, raw_share=0.8, reconstruction_share=0.25)
    batches = [plan.batch(step) for step in range(300)]
    special = [sequence for batch in batches for sequence in batch.special]
    assert len(special) / 2100 == pytest.approx(0.2, abs=0.02)
    restored = sum(len(sequence) == 22 for sequence in special)
    assert restored / len(special) == pytest.approx(0.25, abs=0.05)


def test_cuts_are_uniform_with_a_token_each_side():
    plan = planner([list(range(2, 7))] * 4, raw_share=0.0, reconstruction_share=0.0)
    cuts = [sequence.prefix for step in range(200) for sequence in plan.batch(step).special]
    shares = np.bincount(cuts, minlength=5)[1:] / len(cuts)
    assert min(cuts) == 1
    assert max(cuts) == 4
    assert shares == pytest.approx([0.25] * 4, abs=0.05)


def test_a_reconstruction_row_fits_the_positions():
    plan = planner([list(range(2, 20))] * 4, raw_share=0.0, reconstruction_share=1.0, positions=21)
    assert {len(sequence) for sequence in plan.batch(0).special} == {20}


@given(texts, st.floats(0, 0.9), st.sampled_from(["both", "one"]), st.booleans())
def test_views_are_the_text_less_some_tokens(rows, dropout, views, begins):
    rows = [[BOS, *row] for row in rows] if begins else rows
    batch = planner(rows, begin=BOS, contrastive=Contrastive(dropout=dropout, views=views)).batch(1)
    count = len(batch.same)
    assert len(batch.views) == 2 * count == 16
    assert [view.index for view in batch.views] == list(range(16))
    for number, view in enumerate(batch.views):
        kept = view.tokens[:-2].tolist()
        assert view.tokens[-2:].tolist() == list(SPECIAL)
        assert view.prefix == len(kept) > int(begins)
        assert not begins or kept[0] == BOS
        assert is_subsequence(kept, batch.texts[number])
        assert batch.texts[number].tolist() in rows
        if number < count and (views == "one" or dropout == 0):
            assert kept in rows


def test_where_nothing_is_contrasted_a_text_has_one_view():
    rows = [list(range(2, 60)), list(range(70, 90)), list(range(100, 110))]
    batch = planner(rows, contrastive=Contrastive(dropout=0.5, views="one", bag_of_words=1)).batch(0)
    assert len(batch.views) == len(batch.texts) == 8
    assert batch.same.size == 0
    assert all(view.prefix < len(text) for view, text in zip(batch.views, batch.texts, strict=True) if len(text) > 20)


def is_subsequence(part, whole):
    tokens = iter(whole)
    return all(token in tokens for token in part)


def test_tokens_are_dropped_at_the_rate():
    plan = planner([list(range(2, 102))] * 4, contrastive=Contrastive(dropout=0.2))
    kept = [view.prefix for step in range(20) for view in plan.batch(step).views]
    assert np.mean(kept) == pytest.approx(80, abs=1)


def test_contrastive_rows_may_be_only_those_with_special_tokens_or_none():
    rows = [list(range(2, 12))] * 8
    special = planner(rows, raw_share=0.5, contrastive=Contrastive(rows="special")).batch(0)
    assert len(special.views) == 2 * len(special.special) == 8
    assert not planner(rows, contrastive=Contrastive(rows="none")).batch(0).views


def test_equal_texts_are_marked():
    same = planner([[5, 6], [5, 6], [7, 8]], batch_size=3).batch(0).same
    assert sorted(same.sum(axis=1).tolist()) == [1, 2, 2]
    assert same.diagonal().all()


sequences = st.lists(st.integers(1, 60), max_size=40).map(
    lambda lengths: [TokenSequence(np.zeros(n, dtype=np.int32), n, i) for i, n in enumerate(lengths)]
)


@given(sequences, st.integers(1, 5))
def test_workers_share_everything_once_and_evenly(parts, world):
    shares = [share(parts, rank, world) for rank in range(world)]
    assert sorted(s.index for part in shares for s in part) == list(range(len(parts)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(sequences)
def test_calls_keep_order_and_waste_little(parts):
    ordered = share(parts, 0, 1)
    calls = length_buckets(ordered)
    assert [s for call in calls for s in call] == ordered
    cost = sum(len(call) * len(call[0]) + 96 for call in calls)
    assert not calls or cost <= len(ordered) * len(ordered[0]) + 96


def test_no_call_takes_more_tokens_than_fit():
    parts = [TokenSequence(np.zeros(9000, dtype=np.int32), 9000, i) for i in range(3)]
    assert [len(call) for call in length_buckets(parts)] == [1, 1, 1]


def test_padding_is_on_the_right():
    ids, lengths = padded([np.array([1, 2, 3]), np.array([4])], filler=0)
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert lengths.tolist() == [3, 1]


def planned(tmp_path, rows, *, begin=None, batch_size=8, **objective):
    return Planner(Rows.write(tmp_path, rows), Objective(**objective), SPECIAL, batch_size, 3, begin, None)


def test_rows_serve_what_they_are_for(tmp_path):
    uses = [RAW, SPECIAL_USE, CONTRASTIVE, SPECIAL_USE | CONTRASTIVE, EVERYTHING]
    rows = [Row([[10 * i + 2, 10 * i + 3, 10 * i + 4]], use) for i, use in enumerate(uses)]
    batch = planned(tmp_path, rows, batch_size=5, raw_share=0.5).batch(0)
    names = lambda sequences: {int(sequence.tokens[0]) // 10 for sequence in sequences}  # noqa: E731
    assert names(batch.raw) - {4} == {0}
    assert names(batch.special) - {4} == {1, 3}
    assert names(batch.raw) ^ names(batch.special) == {0, 1, 3, 4}
    assert len(batch.same) == 3
    views = {int(token) // 10 for view in batch.views for token in view.tokens[:-2]}
    assert views == {2, 3, 4}


def test_replayed_rows_leave_the_share_of_the_others_alone(tmp_path):
    rows = [Row([[2, 3, 4, 5]], RAW if i % 2 else EVERYTHING) for i in range(8)]
    plan = planned(tmp_path, rows, raw_share=0.75, contrastive=Contrastive(rows="none"))
    batches = [plan.batch(step) for step in range(20)]
    assert {len(batch.special) for batch in batches} == {2}
    assert {len(batch.raw) for batch in batches} == {6}


def test_pairs_and_triplets_are_contrasted_as_they_are(tmp_path):
    rows = [
        Row([[2, 3], [4, 5]], CONTRASTIVE),
        Row([[6, 7], [8], [9, 10], [2, 3]], CONTRASTIVE),
        Row([[4, 5], [11]], CONTRASTIVE),
        Row([[12, 13, 14, 15]]),
    ]
    batch = planned(tmp_path, rows, batch_size=4, contrastive=Contrastive(dropout=0.5)).batch(0)
    texts = [tuple(view.tokens[:-2].tolist()) for view in batch.views]
    anchors, positives, negatives = texts[:4], texts[4:8], texts[8:]
    assert dict(zip(anchors, positives, strict=True)) | {(2, 3): (4, 5), (6, 7): (8,), (4, 5): (11,)} == dict(
        zip(anchors, positives, strict=True)
    )
    assert negatives == [(9, 10), (2, 3)]
    assert len(batch.raw) + len(batch.special) == 1
    assert [view.index for view in batch.views] == list(range(10))
    own, other = anchors.index((2, 3)), anchors.index((4, 5))
    expected = np.eye(4, 6, dtype=bool)
    expected[own, 5] = True  # the hard negative of another row is this row's anchor
    expected[own, other] = True  # the other row's anchor is this row's positive
    expected[other, own] = True  # the other row's positive is this row's anchor
    assert np.array_equal(batch.same, expected)


@given(texts, st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda cut: cut[0] < 1 and cut[1] > 0))
def test_the_cut_lies_where_the_recipe_says(rows, cut):
    low, high = cut
    plan = planner(rows, raw_share=0.0, reconstruction_share=0.0, cut=cut)
    for sequence in plan.batch(0).special:
        length = len(sequence) - 2
        assert 1 <= sequence.prefix <= length - 1
        assert low * length <= sequence.prefix <= high * length or not [
            place for place in range(1, length) if low * length <= place <= high * length
        ]


@given(texts, st.floats(0.1, 0.9), st.booleans())
def test_masked_tokens_keep_their_places(rows, dropout, begins):
    rows = [[BOS, *row] for row in rows] if begins else rows
    plan = planner(rows, begin=BOS, contrastive=Contrastive(dropout=dropout, dropout_kind="mask"))
    for view in plan.batch(0).views:
        assert view.tokens[:-2].tolist() in rows
        assert len(view.hidden) == len(view)
        assert not view.hidden[-2:].any()
        assert not (begins and view.hidden[0])
        assert not view.hidden[int(begins) : view.prefix].all()


def test_a_row_too_short_to_be_cut_is_refused():
    plan = planner([[BOS, 5, 6], [BOS, 5]], begin=BOS)
    with pytest.raises(ValueError, match=r"row 1 has 2 token.s., too few to be cut"):
        plan.check()
    planner([[5, 6], [5, 7]], begin=BOS).check()


@given(sequences.filter(bool), st.integers(1, 5))
def test_no_call_takes_more_rows_than_told(parts, most):
    ordered = share(parts, 0, 1)
    calls = length_buckets(ordered, most)
    assert [s for call in calls for s in call] == ordered
    assert max(map(len, calls)) <= most
