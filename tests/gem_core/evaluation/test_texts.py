from gem_core.contamination import overlap
from gem_core.evaluation.texts import evaluation_texts


def test_every_task_has_its_texts(evaluation, shared):
    texts = {}
    for task, text in evaluation_texts(evaluation, shared):
        texts.setdefault(task, set()).add(text)
    assert texts.keys() == {*evaluation.embedding.tasks, *evaluation.language.tasks}
    assert all(len(of) > 5 for of in texts.values())
    everything = set().union(*texts.values())
    assert overlap(sorted(everything), everything).share == 1.0
