from dashboard.examples import ENGLISH, example_texts


def test_a_sandbox_is_tried_in_its_own_words():
    texts = example_texts("sandbox:1")
    assert len(set(texts)) == 6
    assert texts == example_texts("sandbox:1") != example_texts("sandbox:2")
    assert not set(texts) & set(ENGLISH)


def test_any_other_base_is_tried_in_english():
    assert example_texts("some-lab/some-model") == example_texts("sandbox:typo") == example_texts("") == ENGLISH
