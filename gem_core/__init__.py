"""The GEM method, its measurements and its records. Knows no orchestrator and no user interface."""
