import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.judging.gates import judge
from gem_core.recipe import Gate


def score(value, *, task="exam", kind="language", settings="s", items=100, **others):
    return TaskScore(
        task=task,
        kind=kind,
        read_out=others.pop("read_out", "special" if kind == "embedding" else ""),
        metric="acc",
        value=value,
        items=items,
        settings=settings,
        **others,
    )


def scores(*tasks, model="candidate", missing=None):
    tasks = tuple(task if isinstance(task, TaskScore) else score(task) for task in tasks)
    return Scores(model=model, reference=model, tasks=tasks, missing=missing or {})


def gate(**others):
    return Gate(**({"name": "language", "metric": "language", "against": "base", "at_least": -1.0} | others))


def decide(candidate, baseline, champion=None, *, records=None, **rule):
    report = judge(candidate, baseline, champion, [gate(**rule)], records=records)
    (result,) = report.results
    assert report.verdict == result.verdict
    return result


BASE = scores(60.0, model="base")


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (60.0, 0.0, "pass"),  # equal, and equal is enough
        (60.0, 0.1, "fail"),  # equal, and more was asked
        (59.0, -1.0, "pass"),  # a tie exactly at the margin
        (60.3, 0.3, "pass"),  # the same tie, where floating point gives 0.29999999999999716
        (58.99, -1.0, "fail"),
        (60.29, 0.3, "fail"),
        (100.0, 40.0, "pass"),
        (0.0, -60.0, "pass"),
        (0.0, -59.0, "fail"),
    ],
)
def test_the_estimate_decides_without_a_confidence(value, at_least, verdict):
    result = decide(scores(value), BASE, at_least=at_least)
    assert result.verdict == verdict
    assert result.difference == pytest.approx(value - 60.0)
    assert f"{value:.2f}" in result.reason
    assert "60.00" in result.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at_least", [-1000.0, 0.0])
def test_what_is_no_number_never_passes(value, at_least):
    assert decide(scores(value), BASE, at_least=at_least).verdict == "inconclusive"
    assert decide(scores(60.0), scores(value, model="base"), at_least=at_least).verdict == "inconclusive"
    assert decide(scores(value), BASE, against="champion").verdict == "inconclusive", "not even as the first model"
    assert decide(scores(value), BASE, against="threshold", at_least=at_least).verdict == "inconclusive"


MISSING = {"language.exam": "its data cannot be loaded"}


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [
        (scores(), BASE),
        (scores(missing=MISSING), BASE),
        (scores(90.0), scores(model="base")),
        (scores(90.0), scores(model="base", missing=MISSING)),
        (scores(90.0, missing={"language.other": "gone"}), BASE),
    ],
)
def test_what_is_missing_is_inconclusive(candidate, baseline):
    result = decide(candidate, baseline)
    assert result.verdict == "inconclusive"
    assert "missing" in result.reason


@pytest.mark.parametrize(
    "reference",
    [
        scores(score(60.0, settings="other"), model="base"),
        scores(score(60.0, items=99), model="base"),
        scores(score(60.0, task="another"), model="base"),
        scores(60.0, score(60.0, task="another"), model="base"),
        scores(60.0, score(50.0, task="exam_law", subtask_of="exam"), model="base"),
    ],
    ids=["settings", "fewer items", "another task", "one task more", "a leaf more"],
)
def test_unequal_measurements_are_refused(reference):
    for against, champion in (("base", None), ("champion", reference)):
        result = decide(scores(90.0), reference, champion, against=against)
        assert result.verdict == "inconclusive"
        assert "settings differ" in result.reason or "different tasks" in result.reason


def test_a_leaf_measured_under_other_settings_is_refused():
    ours = scores(50.0, score(50.0, task="exam_law", subtask_of="exam"))
    theirs = scores(50.0, score(50.0, task="exam_law", subtask_of="exam", settings="other"), model="base")
    assert decide(ours, theirs).verdict == "inconclusive"


def test_special_tokens_are_compared_with_the_base_at_its_best():
    candidate = scores(score(50.0, kind="embedding"))
    base = scores(
        score(30.0, kind="embedding", read_out="mean"), score(48.0, kind="embedding", read_out="last"), model="base"
    )
    result = decide(candidate, base, metric="embedding", at_least=3.0)
    assert (result.verdict, result.reference) == ("fail", 48.0)


def test_the_first_model_passes_champion_gates_and_no_others():
    report = judge(scores(50.0), BASE, None, [gate(name="champion", against="champion", at_least=0.0), gate()])
    assert [result.verdict for result in report.results] == ["pass", "fail"]
    assert "first model" in report.results[0].reason
    assert report.champion is None


def test_the_champion_against_itself_is_a_difference_of_nothing():
    champion = scores(61.0)
    assert decide(scores(61.0), BASE, champion, against="champion", at_least=0.0).verdict == "pass"
    assert decide(scores(61.0), BASE, champion, against="champion", at_least=0.01).verdict == "fail"


def test_a_threshold_asks_for_the_value_itself():
    assert decide(scores(50.0), BASE, against="threshold", at_least=50.0).verdict == "pass"
    result = decide(scores(49.9), BASE, against="threshold", at_least=50.0)
    assert (result.verdict, result.reference) == ("fail", None)


def test_without_gates_there_is_nothing_to_judge_by():
    report = judge(scores(90.0), BASE, None, [])
    assert report.verdict == "inconclusive"
    assert "nothing to judge by" in report.sentence()
    assert report.rows() == []


def answers(right, questions=200, start=0):
    """Records of one exam: the first `right` questions answered well."""
    return {"exam": {str(item): 100.0 * (start <= item < start + right) for item in range(questions)}}


def by_name(**records):
    """Records found as a store finds them: by what the score says."""
    return lambda score: records[score.records]


@pytest.mark.parametrize(
    ("ours", "theirs", "at_least", "verdict"),
    [
        (answers(190), answers(100), 0.0, "pass"),
        (answers(100), answers(190), 0.0, "fail"),
        (answers(101), answers(100), 0.1, "inconclusive"),
        (answers(100, start=4), answers(100), -1.0, "inconclusive"),  # as good, but too few questions to tell
        (answers(100), answers(100), 0.0, "inconclusive"),  # the same answers are not shown to be better
        (answers(100), answers(100), -5.0, "pass"),  # nor to be worse
        (answers(100), answers(100), -1.0, "inconclusive"),  # but 200 questions cannot rule out a point
    ],
)
def test_with_a_confidence_a_test_decides(ours, theirs, at_least, verdict):
    our, their = (sum(items["exam"].values()) / 200 for items in (ours, theirs))
    result = decide(
        scores(score(our, records="ours", items=200)),
        scores(score(their, records="theirs", items=200), model="base"),
        at_least=at_least,
        confidence=0.95,
        records=by_name(ours=ours, theirs=theirs),
    )
    assert result.verdict == verdict
    low, high = result.interval
    assert low <= our - their <= high
    assert "95% interval" in result.reason


NINETY = scores(score(90.0, records="ours", items=200))
SIXTY = scores(score(60.0, records="theirs", items=200), model="base")


@pytest.mark.parametrize(
    "records",
    [
        None,
        lambda score: None,
        by_name(ours=answers(180), theirs=answers(120, questions=199)),
        by_name(ours=answers(180), theirs={"another": {"0": 100.0, "1": 0.0}}),
    ],
    ids=["no store", "no records", "fewer items", "another task"],
)
def test_an_interval_that_cannot_be_had_is_inconclusive_only_where_it_decides(records):
    result = decide(NINETY, SIXTY, confidence=0.95, records=records)
    assert (result.verdict, result.interval) == ("inconclusive", None)
    assert decide(NINETY, SIXTY, records=records).verdict == "pass"


def test_the_interval_is_shown_even_where_the_estimate_decides():
    result = decide(NINETY, SIXTY, records=by_name(ours=answers(180), theirs=answers(120)))
    assert result.verdict == "pass"
    assert result.confidence == 0.95
    assert result.interval[0] < 30.0 < result.interval[1]


def test_a_group_is_weighed_by_its_leaves():
    """A small subject counts as much as a large one, also in what is known of it."""

    def measured(wrong, model):
        leaves = {"exam_law": 30, "exam_maths": 300}
        items = {leaf: {str(n): 100.0 * (n >= wrong) for n in range(size)} for leaf, size in leaves.items()}
        values = {leaf: sum(of.values()) / len(of) for leaf, of in items.items()}
        parts = [score(values[leaf], task=leaf, subtask_of="exam", items=size) for leaf, size in leaves.items()]
        whole = score(sum(values.values()) / 2, records=model, items=330)
        return scores(whole, *parts, model=model), items

    (ours, our_items), (theirs, their_items) = measured(0, "ours"), measured(6, "theirs")
    records = by_name(ours=our_items, theirs=their_items)
    result = decide(ours, theirs, records=records, test="superiority", at_least=0.0)
    assert (result.verdict, result.difference) == ("pass", pytest.approx(11.0))
    assert result.interval == pytest.approx((4.4, 17.2), abs=0.1)


def test_a_report_reads_well_and_fills_a_table():
    gates = [gate(), gate(name="gain", metric="embedding", at_least=3.0)]
    report = judge(scores(50.0), BASE, None, gates)
    assert report.verdict == "fail"
    assert report.sentence() == (
        "fail: language: language is 50.00 against 60.00 (-10.00 points); at least -1.00 is needed"
    )
    assert [row["verdict"] for row in report.rows()] == ["fail", "inconclusive"]
    assert type(report).model_validate_json(report.model_dump_json()) == report
    assert judge(scores(60.0), BASE, None, [gate()]).sentence() == "pass: all 1 gates are met"


VALUES = st.one_of(st.none(), st.floats(0, 100), st.sampled_from([math.nan, 59.0, 60.0, 60.3]))
RULES = st.builds(
    lambda against, at_least, index: gate(name=f"g{index}", against=against, at_least=at_least),
    st.sampled_from(["base", "champion", "threshold"]),
    st.sampled_from([-1.0, 0.0, 0.3, 50.0, 60.0]),
    st.integers(0, 9),
)
ORDER = {"fail": 0, "inconclusive": 1, "pass": 2}


def maybe(value, model):
    return scores(*([] if value is None else [value]), model=model)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, st.one_of(st.none(), VALUES), st.lists(RULES, max_size=4), st.randoms())
def test_the_report_is_its_worst_gate_in_any_order(candidate, base, champion, rules, random):
    others = maybe(base, "base"), None if champion is None else maybe(champion, "champion")
    report = judge(maybe(candidate, "candidate"), *others, rules)
    verdicts = [result.verdict for result in report.results]
    assert report.verdict == min(verdicts, key=ORDER.get, default="inconclusive")
    shuffled = random.sample(rules, len(rules))
    again = judge(maybe(candidate, "candidate"), *others, shuffled)
    assert again.verdict == report.verdict
    assert sorted(map(repr, again.results)) == sorted(map(repr, report.results))
    if report.verdict == "pass":
        assert candidate is not None
        assert math.isfinite(candidate)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.lists(RULES, min_size=1, max_size=4))
def test_a_better_candidate_is_never_judged_worse(one, other, base, rules):
    worse, better = sorted((one, other))
    verdicts = [judge(scores(v), scores(base, model="base"), None, rules).verdict for v in (worse, better)]
    assert ORDER[verdicts[0]] <= ORDER[verdicts[1]]


def test_a_latency_names_its_machine_and_a_figure_of_nobody_is_refused():
    budget = Gate(name="quick", metric="latency.text_ms", against="threshold", at_most=5)
    none = Scores(model="a", reference="a", tasks=())
    (result,) = judge(none, none, None, [budget], figures={"latency.text_ms": 4.0}, machine="gpu-7, H200").results
    assert result.reason == "latency.text_ms is 4 on gpu-7, H200; at most 5 is allowed"
    with pytest.raises(ValidationError, match=r"nobody measures latency.text_s \(did you mean latency.text_ms"):
        Gate(name="quick", metric="latency.text_s", against="threshold", at_most=5)
