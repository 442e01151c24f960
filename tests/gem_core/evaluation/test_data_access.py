"""Data that cannot be had costs its task, and none of the others."""

import httpx2
import pytest
from datasets.exceptions import DatasetGenerationError, NonMatchingSplitsSizesError

from gem_core.evaluation.data_access import unreachable


def raising(error):
    def load():
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach it on the Hub"), "its data cannot be loaded: Couldn't reach it on the Hub"),
        (httpx2.ReadTimeout("timed out"), "its data cannot be loaded: timed out"),
        (DatasetGenerationError("An error occurred\nwhile generating"), "its data cannot be loaded: An error occurred"),
        (NonMatchingSplitsSizesError(), "its data cannot be loaded: NonMatchingSplitsSizesError"),
        (RuntimeError("Dataset scripts are no longer supported"), "its data cannot be loaded: Dataset scripts are no"),
        (ModuleNotFoundError("No module named 'langdetect'"), "it needs what is not installed: No module named 'lang"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_libraries_raise_is_a_reason(error, said):
    found = unreachable(raising(error))
    assert found is not None
    assert found.reason.startswith(said)
    assert "\n" not in found.reason


@pytest.mark.parametrize("error", [KeyError("question"), TypeError("no such argument")], ids=str)
def test_a_mistake_in_code_stays_one(error):
    with pytest.raises(type(error)):
        unreachable(raising(error))


def test_what_loads_has_no_reason():
    assert unreachable(lambda: None) is None
