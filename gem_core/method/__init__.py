"""GEM itself (arXiv 2506.04344): needs torch, transformers, peft and numpy, no harness and no store."""
