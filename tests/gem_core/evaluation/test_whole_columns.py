import numpy as np
import pytest
from datasets import Dataset, arrow_dataset

from gem_core.evaluation.whole_columns import whole_columns

ROWS = {"label": [3, 1, 2, 1], "text": ["a", "b", "c", "d"], "more": [{"n": number} for number in range(4)]}


@pytest.mark.parametrize("kind", [None, "numpy"])
@pytest.mark.parametrize("chosen", [None, [2, 0]])
def test_a_whole_column_is_the_column(monkeypatch, kind, chosen):
    data = Dataset.from_dict(ROWS).with_format(kind)
    data = data if chosen is None else data.select(chosen)
    plain = {name: data[name] for name in ROWS}
    with whole_columns():
        whole = {name: data[name] for name in ROWS}
    assert type(data["label"]) is arrow_dataset.Column, "undone on leaving"
    for name, column in plain.items():
        assert list(whole[name]) == list(column)
        assert len(whole[name]) == len(column)
        assert whole[name][1] == column[1]
        assert list(whole[name][:2]) == list(column[:2])
        assert list(whole[name][[1, 0]]) == list(column[[1, 0]])
    assert list(whole["more"]["n"]) == list(plain["more"]["n"])
    read = []
    monkeypatch.setattr(Dataset, "_getitem", lambda *_: read.append(1))
    assert np.asarray(whole["label"]).tolist() == list(whole["label"])
    assert not read, "no value is formatted twice"
