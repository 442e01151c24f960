"""What happens, in which order and how often: the Prefect flows and the ``gem`` command."""
