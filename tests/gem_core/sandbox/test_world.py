from __future__ import annotations

import itertools
import re

import pytest

from gem_core.sandbox.builder import fine_tuning_rows, pretraining_texts
from gem_core.sandbox.exam_tasks import make_exam
from gem_core.sandbox.task_data import make_task_data
from gem_core.sandbox.vocabulary import TOPICS
from gem_core.sandbox.wordings import EVALUATION, TRAINING
from gem_core.sandbox.world import PROPERTIES, make_world, values


@pytest.fixture(scope="module")
def world(miniature):
    return make_world(3, miniature.entities_per_topic, miniature.held_out_per_topic)


@pytest.fixture(scope="module")
def evaluation_texts(world, miniature):
    splits = itertools.chain.from_iterable(data.values() for data in make_task_data(world, miniature.tasks).values())
    return {
        row[column]
        for row in itertools.chain.from_iterable(splits)
        for column in ("text", "sentence1", "sentence2")
        if column in row
    }


def _questions(world, miniature):
    for splits in make_exam(world, miniature.questions_per_subject).values():
        yield from itertools.chain.from_iterable(splits.values())


def _grams(text, length=6):
    words = text.split()
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def test_a_seed_gives_the_same_world_and_data(world, miniature):
    again = make_world(3, miniature.entities_per_topic, miniature.held_out_per_topic)
    assert again == world
    assert make_task_data(again, miniature.tasks) == make_task_data(world, miniature.tasks)
    assert fine_tuning_rows(again, miniature) == fine_tuning_rows(world, miniature)
    assert pretraining_texts(again, miniature) == pretraining_texts(world, miniature)
    assert make_exam(again, 8) == make_exam(world, 8)


def test_another_seed_gives_another_world(world, miniature):
    other = make_world(4, miniature.entities_per_topic, miniature.held_out_per_topic)
    assert {entity.name for entity in other.entities} != {entity.name for entity in world.entities}


@pytest.mark.parametrize("held_out", [0, 4, 5])
def test_both_sides_of_the_split_need_an_entity(held_out):
    with pytest.raises(ValueError, match="both parts need one"):
        make_world(0, 4, held_out)


def test_no_word_has_two_meanings():
    meanings = {meaning: None for topic in range(len(TOPICS)) for name in PROPERTIES for meaning in values(topic, name)}
    words = list(itertools.chain.from_iterable(meanings))
    assert len(words) == len(set(words))


def test_training_and_evaluation_share_no_wording():
    for name in PROPERTIES:
        assert not set(TRAINING.clauses[name]) & set(EVALUATION.clauses[name])
    assert set(TRAINING.openings) & set(EVALUATION.openings) == {""}
    assert set(TRAINING.closings) & set(EVALUATION.closings) == {""}


def test_fine_tuning_rows_mention_no_held_out_entity(world, miniature):
    rows = " ".join(fine_tuning_rows(world, miniature))
    assert not [entity.name for entity in world.held_out_entities if entity.name in rows]


def test_no_evaluation_text_is_trained_on(world, miniature, evaluation_texts):
    trained = "\n".join(fine_tuning_rows(world, miniature) + pretraining_texts(world, miniature))
    assert evaluation_texts
    assert not [text for text in evaluation_texts if text in trained]


def test_evaluation_texts_speak_of_held_out_entities_in_held_out_clauses(world, evaluation_texts):
    names = "|".join(entity.name for entity in world.held_out_entities)
    clauses = itertools.chain.from_iterable(EVALUATION.clauses.values())
    said = "|".join(re.escape(clause).replace(r"\{x\}", r"\w+") for clause in clauses)
    for text in evaluation_texts:
        for sentence in text.rstrip(".").split(". "):
            assert re.search(rf"\b[Tt]he ({names}) ({said})( and ({said}))?", sentence), sentence
        assert not {entity.name for entity in world.training_entities} & set(text.split())


def test_no_question_of_the_exam_is_trained_on(world, miniature):
    trained = "\n".join(fine_tuning_rows(world, miniature) + pretraining_texts(world, miniature))
    trained_grams = set().union(*(_grams(line) for line in trained.splitlines()))
    asked = _questions(world, miniature)
    assert asked
    for one in asked:
        assert f"Question: {one.question}\n" not in trained
        assert not _grams(f"Question: {one.question} Answer: {one.choices[one.answer]}", 8) & trained_grams


def test_each_question_has_four_different_choices_and_one_answer(world, miniature):
    for one in _questions(world, miniature):
        assert len(set(one.choices)) == 4
        assert 0 <= one.answer < 4
