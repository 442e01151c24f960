"""Deciding on a challenger, run by Streamlit's own test runner on a real store of its own for each test."""

import re
import shutil

import pytest
from garden import BASE_POINTS, NAME, use
from test_pages import PROMOTION, open_app, text_of

from dashboard import actions, queries
from gem_core.errors import GemError
from gem_core.evaluation.plan import PlannedTask
from gem_core.evaluation.scores import TaskScore
from gem_core.evaluation.store import Measured, ScoreStore
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds
from gem_core.records.registry import Registry
from gem_core.settings import Settings


@pytest.fixture
def registry(filled, tmp_path, monkeypatch) -> Registry:
    """A copy of the store, in which v2 is champion and v4 waits."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(filled.home / "mlflow.db", home)
    use(monkeypatch, home)
    return Registry(Settings())


def ask(app, button):
    return app.button(key=button).click().run()


def sign(app, who="Ada  Lovelace", reason="I read fifty of them"):
    app.text_input[0].set_value(who)
    app.text_area[0].set_value(reason)
    return next(b for b in app.button if b.form_id == "signature").click().run()


def said(app):
    return "\n".join([text_of(app), *(str(element.value) for element in [*app.success, *app.warning])]).replace(
        "\\", ""
    )


def test_the_challenger_waits_with_its_report_and_the_log(registry):
    app = open_app(PROMOTION)
    assert not app.exception
    assert not app.error
    assert app.subheader[0].value == "v4 waits for a decision"
    words = said(app)
    assert re.search(r"\*\*v2\*\* is the champion; tests made it champion (just now|.* ago)", words)
    assert "its data could not be read" in words, "the reason of the gate that is inconclusive"
    assert {metric.label: metric.value for metric in app.metric[3:]}["Against the champion"] == ":green[+0.7]"
    log = app.dataframe[0].value
    assert log["number"].tolist() == sorted(log["number"], reverse=True)
    assert (log["action"][0], log["version"][0], log["champion"][0], log["who"][0]) == (
        ["challenge"],
        "v4",
        "v2",
        "tests",
    )
    assert "none is missing or changed" in words


def test_an_approval_is_signed_and_seen_at_once(registry):
    queries.versions(NAME)  # remembered as it was
    app = sign(ask(open_app(PROMOTION), "approve"))
    assert not app.exception
    assert registry.champion(NAME).version == "4"
    move = Championship(registry, NAME).history()[-1]
    assert (move.action, move.who, move.reason) == ("approve", "Ada Lovelace (dashboard)", "I read fifty of them")
    words = said(app)
    assert "v4 is the champion now; it was v2" in words
    assert "**v4** is the champion; Ada Lovelace (dashboard) made it champion" in words
    assert "Nothing waits for a decision" in words
    assert app.dataframe[0].value["action"][0] == ["approve"]
    assert "v4 is the champion now" not in said(app.run()), "said once"
    assert Championship(registry, NAME).faults() == []


def test_a_challenger_is_declined(registry):
    app = sign(ask(open_app(PROMOTION), "decline"), reason="it swears")
    assert "v4 was declined" in said(app)
    assert not Championship(registry, NAME).waits("4")
    assert registry.champion(NAME).version == "2"


def test_the_champion_is_rolled_back_to_the_one_before_or_to_a_named_one(registry):
    app = open_app(PROMOTION)
    back = app.selectbox[1]
    assert (back.label, back.value) == ("Back to", "v1")
    app = sign(ask(app, "rollback"), reason="answers got slower")
    assert "v1 is the champion now; it was v2" in said(app)
    app.selectbox[1].set_value("v3")
    app = ask(app, "rollback")
    assert app.text_input[0].value.split() == ["Ada", "Lovelace"], "asked for once"
    sign(app, reason="after all")
    assert [(m.action, m.from_version, m.to_version) for m in Championship(registry, NAME).history()[-2:]] == [
        ("rollback", "2", "1"),
        ("rollback", "1", "3"),
    ]


@pytest.mark.parametrize(("who", "reason", "message"), [(" ", "good", "say who you are"), ("Ada", " ", "say why")])
def test_nothing_is_done_without_a_name_and_a_reason(registry, who, reason, message):
    before = Championship(registry, NAME).history()
    app = sign(ask(open_app(PROMOTION), "approve"), who, reason)
    assert message in app.error[0].value
    assert Championship(registry, NAME).history() == before
    assert registry.champion(NAME).version == "2"


def test_a_champion_that_moved_meanwhile_refuses_with_the_plain_reason(registry):
    app = ask(open_app(PROMOTION), "approve")
    Championship(registry, NAME).promote("3", Grounds("another", "faster"), expected="2")
    app = sign(app)
    assert "is version 3 by now, not version 2: version 4 was not promoted" in said(app)
    assert registry.champion(NAME).version == "3"
    fresh = open_app(PROMOTION)
    assert "It was judged against v2, and by now v3 is champion" in said(fresh)
    assert fresh.button(key="approve").disabled
    sign(ask(fresh, "decline"))
    assert not Championship(registry, NAME).waits("4")


def test_a_rollback_is_about_the_champion_that_was_seen(registry):
    app = ask(open_app(PROMOTION), "rollback")
    Championship(registry, NAME).promote("3", Grounds("another", "faster"), expected="2")
    assert "nothing was rolled back" in said(sign(app))
    assert registry.champion(NAME).version == "3"


def test_an_approval_is_about_the_report_that_was_seen(registry):
    app = ask(open_app(PROMOTION), "approve")
    candidate, champion = (registry.get(NAME, version).digest for version in ("4", "2"))
    report = {"verdict": "pass", "results": [], "candidate": candidate, "baseline": "b", "champion": champion}
    Championship(registry, NAME).challenge("4", Grounds("gates", "measured again", report), expected="2")
    assert "judged anew" in said(sign(app))
    assert Championship(registry, NAME).waits("4")


def test_a_dashboard_that_only_reads_offers_and_does_nothing(registry, monkeypatch):
    action = actions.Action("approve", NAME, "4", "2")
    monkeypatch.setenv("GEM_DASHBOARD_READ_ONLY", "true")
    app = open_app(PROMOTION)
    assert not app.button
    assert f"`gem approve {NAME} 4`" in said(app)
    with pytest.raises(GemError, match="only reads"):
        actions.perform(action, "Ada", "good")
    assert registry.champion(NAME).version == "2"


def test_a_report_that_was_changed_is_no_report_to_decide_by(registry):
    version = registry.client.get_model_version(NAME, "4")
    key = next(key for key in version.tags if key.startswith("gem.report."))
    registry.client.set_model_version_tag(NAME, "4", key, version.tags[key].replace("inconclusive", "pass"))
    app = open_app(PROMOTION)
    assert "is changed: do not decide by it" in said(app)


def test_a_challenger_by_other_hands_has_nothing_to_decide_by(registry):
    Championship(registry, NAME).decline("4", Grounds("tests", "no"))
    registry.client.set_registered_model_alias(NAME, "challenger", "1")
    app = open_app(PROMOTION)
    assert "set by other means" in said(app)
    assert "approve" not in [button.key for button in app.button]


def test_what_was_recorded_of_both_is_compared_with_intervals(registry):
    champion, challenger = registry.get(NAME, "2"), registry.get(NAME, "4")
    assert queries.comparison(champion, challenger).rows == ()
    queries._comparison.clear()
    store, task = ScoreStore(Settings().scores), next(iter(BASE_POINTS["language"]))
    planned = PlannedTask("language", task, {"kind": "language", "task": task})
    for version, points in ((champion, 60.0), (challenger, 61.5)):
        score = TaskScore(
            task=task, kind="language", read_out="", metric="acc", value=points, items=9, settings=planned.digest
        )
        store.save(version.digest, planned, "", Measured((score,), None, 1.0))
    (row,) = queries.comparison(champion, challenger).at("task")
    assert row.difference == 1.5
