import re
from html.parser import HTMLParser

import pytest

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.judging.comparison import compare
from gem_core.judging.comparison_page import comparison_page, interval_plot
from gem_core.provenance import Provenance, recipe_changes

LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background", "style"}


class Page(HTMLParser):
    """What a page would load, what it says, and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text, self.open = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in {"meta"}:
            self.open.append(tag)
        self.loads += [value for name, value in attributes if name in LOADING and value and name != "style"]
        self.loads += [value for name, value in attributes if name == "style" and "url(" in value]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def score(task, value, kind="language", **changes):
    known = {"read_out": "special" if kind == "embedding" else "", "metric": "acc", "items": 20, "settings": "s"}
    return TaskScore(task=task, kind=kind, value=value, **(known | changes))


def points(one):
    """Every item differs a little around the task's value."""
    return {one.task: {str(item): one.value + item % 3 for item in range(20)}}


@pytest.fixture(scope="module")
def page():
    leaves = [score(name, 60.0, subtask_of="mmlu") for name in ("law", "art")]
    first = Scores(
        model="a" * 64, reference="first", tasks=(score("STS12", 30.0, "embedding"), score("mmlu", 60.0), *leaves)
    )
    second = Scores(
        model="b" * 64,
        reference="<script>alert(1)</script>",
        tasks=(score("STS12", 50.0, "embedding"), score("mmlu", 60.0), *leaves, score("arc", 1.0)),
    )
    known = {"s": {"dtype": "float32", "versions": {"mteb": "2.26"}, "task": "x"}}
    made = compare(first, second, records=points, settings=known)
    sides = (
        Provenance(reference="first", digest="a" * 64, facts={"base model": "owner/base"}, recipe={"seed": 1}),
        Provenance(reference="second", digest="b" * 64, facts={"version": "x 2"}, recipe={"seed": 2}),
    )
    return comparison_page(made, *sides), made, sides


def test_the_page_loads_nothing_from_anywhere(page):
    parser = Page()
    parser.feed(page[0])
    parser.close()
    assert parser.open == []
    assert all(target.startswith("#") for target in parser.loads)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(parser.tags)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page[0])
    assert "default-src 'none'" in page[0]  # and were there anything, a browser would refuse it


def test_names_are_text_and_no_markup(page):
    assert "<script>" not in page[0]
    assert "&lt;script&gt;" in page[0]


def test_it_shows_plots_differences_lineage_settings_and_what_is_left_out(page):
    parser = Page()
    parser.feed(page[0])
    said = " ".join(" ".join(parser.text).split())
    assert parser.tags.count("svg") == 2  # the tasks, and the parts of groups
    for expected in (
        "+20.00",
        "owner/base",
        "x 2",
        "versions: mteb",
        "2.26",
        "is not compared",
        "not measured",
        "seed",
    ):
        assert expected in said
    assert "law" in said


def test_equal_comparisons_are_equal_bytes(page):
    assert comparison_page(*page[1:2], *page[2]) == page[0]


def test_a_plot_of_nothing_is_nothing(page):
    assert interval_plot([]) == ""
    assert interval_plot([row for row in page[1].rows if not row.comparable]) == ""


def test_recipes_are_compared_key_by_key():
    def side(**recipe):
        return Provenance(reference="r", digest="d", facts={}, recipe=recipe)

    version = side(name="x", seed=1, steps=10)
    assert recipe_changes(version, side(name="x", seed=2)) == {"seed": ("1", "2"), "steps": ("10", "–")}
    assert recipe_changes(version, side(seed=2)) == {"seed": ("1", "2")}  # a folder only knows its training part
    assert recipe_changes(version, side()) == {}
