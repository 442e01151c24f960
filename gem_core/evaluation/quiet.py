"""Libraries' own logs and progress bars, silenced while we report progress ourselves."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHATTY = ("mteb", "lm_eval", "lm-eval", "datasets", "sentence_transformers", "httpx", "httpx2")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let only errors of the evaluation libraries through; undone on leaving.

    Warnings go too: mteb fits its classifiers on a few texts of each class, and scikit-learn says so hundreds of times.
    """
    import datasets
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    data_bars, weight_bars = datasets.is_progress_bar_enabled(), transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if data_bars:
            datasets.enable_progress_bars()
        if weight_bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def without_prompt_bar() -> Iterator[None]:
    """lm-eval without the bar it draws for every task while it writes prompts, which no option switches off.

    Sending standard error away instead would take our own progress with it.
    """
    from lm_eval.api import task

    drawn = task.tqdm
    task.tqdm = functools.partial(drawn, disable=True)
    try:
        yield
    finally:
        task.tqdm = drawn
