"""Measuring a model: embeddings with mteb, language with lm-eval, records that can be compared later."""
