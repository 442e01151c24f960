"""The subcommands of ``gem``, grouped by what they act on; each is a thin wrapper around one function elsewhere."""
