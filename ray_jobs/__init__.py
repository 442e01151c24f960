"""Where the work runs: one entry point a Ray job, and ``submit`` to start, follow and cancel them."""
