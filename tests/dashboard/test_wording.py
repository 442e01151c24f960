from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.wording import MINUS, ago, change, coloured_change, duration, escaped, points

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("difference", "said", "colour"),
    [(None, "–", "gray"), (0.04, "0.0", "gray"), (1.26, "+1.3", "green"), (-0.3, f"{MINUS}0.3", "red")],
)
def test_a_change_has_a_sign_and_a_colour(difference, said, colour):
    assert change(difference) == said
    assert coloured_change(difference) == f":{colour}[{said}]"


def test_a_missing_score_is_a_dash():
    assert (points(None), points(61.25), points(0.0)) == ("–", "61.2", "0.0")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7_300, "2 hours ago"), (90_000, "1 day ago")],
)
def test_how_long_ago(seconds, said):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_a_clock_that_runs_behind_says_just_now():
    assert ago(NOW + timedelta(hours=1), NOW) == "just now"


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (7.6, "8 s"), (200, "3 min 20 s"), (59.7, "1 min 00 s"), (7_500, "2 h 05 min")]
)
def test_durations_are_short(seconds, said):
    assert duration(seconds) == said


@given(st.text())
def test_nothing_from_outside_acts_as_markdown(text):
    found = escaped(text)
    assert found.replace("\\", "") == text.replace("\\", "")
    for sign in "*_`[]<>#$:":
        assert found.count(f"\\{sign}") >= text.count(sign)
