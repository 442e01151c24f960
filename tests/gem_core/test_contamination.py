import math
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from gem_core.contamination import FEWEST, WORDS, overlap

ROW = "The quick brown fox jumps over the lazy dog, and then it sleeps under the old bridge until noon."


def read(*items, rows=(ROW,)):
    return overlap(rows, items).read


def test_an_item_is_read_when_eight_of_its_words_stand_in_a_row():
    assert read("Yesterday the QUICK brown fox jumps over the lazy... cat!")
    assert not read("The quick brown fox jumps over a lazy dog, and then sleeps under a bridge")  # seven, then others


def test_a_shorter_item_has_to_stand_there_whole():
    assert read("it sleeps under the old bridge")
    assert not read("it sleeps under the new bridge")


def test_what_is_too_short_tells_nothing():
    found = overlap([ROW], ["the quick fox", "", "dog"])
    assert (found.items, found.read) == (0, ())
    assert math.isnan(found.share)  # and a gate on it is inconclusive


def test_scripts_without_spaces_are_read_by_their_characters():
    row = "昨日、東京の大学で新しい言語モデルが発表された。"
    assert read("新しい言語モデルが発表されたそうです", rows=[row])
    assert not read("新しい翻訳モデルを発表しました", rows=[row])
    assert read("the GEM東京の大学で新しい言語model", rows=[row])  # beside others, too
    assert overlap([row], ["東京"]).items == 0


def test_the_share_counts_distinct_items():
    found = overlap([ROW], ["over the lazy dog and then", "over the lazy dog and then", "none of this is there"])
    assert (found.items, found.share) == (2, 0.5)
    assert overlap([], ["none of this is there"]).share == 0.0


TEXT = st.lists(st.sampled_from(string.ascii_lowercase), min_size=FEWEST, max_size=20).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_whatever_stands_in_a_row_is_found(item, before, after):
    assert read(item, rows=[f"{before} {item}, {after}"]) == (item,)
    words = item.split()
    apart = f"{before} - {' x '.join(words)} - {after}".replace(" ", " 0 ")
    assert len(words) > WORDS or not read(item, rows=[apart])
