import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gem_core.evaluation.shared_prefixes import LEAST_PREFIX, LEAST_ROWS, MOST_BRANCHING, Row, plan_rows

EXAMPLES = tuple(range(100, 100 + LEAST_PREFIX))
tokens = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)
beginnings = st.sampled_from([(), EXAMPLES, EXAMPLES + EXAMPLES, EXAMPLES[:-1]])


@st.composite
def questions(draw):
    """Distinct sequences, many of which begin alike, and how many tokens of each are asked about."""
    drawn = draw(st.lists(st.tuples(beginnings, tokens), min_size=1, max_size=40))
    sequences = list(dict.fromkeys(begin + end for begin, end in drawn))
    return sequences, [draw(st.integers(1, min(4, len(sequence)))) for sequence in sequences]


@settings(max_examples=60, deadline=None)
@given(questions())
def test_every_sequence_is_found_once_in_what_is_planned(drawn):
    sequences, private = drawn
    found = {}
    for group in plan_rows(sequences, private):
        for row in group.rows:
            for member, index in enumerate(row.members):
                found[index] = group.prefix + tuple(np.array(row.tokens)[row.columns(member)])
                assert len(group.prefix) <= len(sequences[index]) - private[index]
                places = row.positions()[row.columns(member)]
                assert (places == np.arange(len(places))).all()
            assert not row.branches or len(row.tokens) <= MOST_BRANCHING
    assert found == dict(enumerate(sequences))


@settings(max_examples=30, deadline=None)
@given(questions())
def test_no_plan_computes_more_than_every_sequence_alone(drawn):
    sequences, private = drawn
    planned = plan_rows(sequences, private)
    computed = sum(len(group.prefix) + sum(len(row.tokens) for row in group.rows) for group in planned)
    assert computed <= sum(map(len, sequences))


def test_worked_examples_are_computed_once_for_a_subject():
    subjects = [(subject, *EXAMPLES) for subject in (1, 2)]
    sequences = [(*subject, question, 7, 8) for subject in subjects for question in range(LEAST_ROWS)]
    groups = plan_rows(sequences, [1] * len(sequences))
    assert [group.prefix for group in groups] == subjects
    assert [len(group.rows) for group in groups] == [LEAST_ROWS, LEAST_ROWS]


def test_a_prefix_all_subjects_share_does_not_hide_their_own_longer_ones():
    subjects = [EXAMPLES + (subject,) + 3 * EXAMPLES for subject in (1, 2)]
    sequences = [(*subject, question, 7) for subject in subjects for question in range(LEAST_ROWS)]
    assert [group.prefix for group in plan_rows(sequences, [1] * len(sequences))] == subjects


def test_the_choices_of_a_question_share_it_as_the_docstring_draws_it():
    (group,) = plan_rows([(1, 2, 3, 4), (1, 2, 5)], [2, 1])
    (row,) = group.rows
    assert row == Row((1, 2, 3, 4, 5), 2, (2, 1), (0, 1))
    assert row.positions().tolist() == [0, 1, 2, 3, 2]
    assert row.segments().tolist() == [0, 0, 1, 1, 2]


def test_sequences_that_share_little_stay_apart():
    (group,) = plan_rows([(1, 2, 3, 4, 5), (1, 9, 8, 7, 6)], [1, 1])
    assert [row.branches for row in group.rows] == [(), ()]


@pytest.mark.parametrize("count", [1, LEAST_ROWS])
def test_nothing_is_shared_where_the_network_cannot(count):
    sequences = [(*EXAMPLES, number) for number in range(count)]
    (group,) = plan_rows(sequences, [1] * count, share=False)
    assert group.prefix == ()
    assert [row.tokens for row in group.rows] == sequences
