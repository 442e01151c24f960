"""The one error a user is meant to read."""


class GemError(ValueError):
    """Something the reader of the message can put right: it says what is wrong and what to do, in one line.

    The ``gem`` command prints it without a traceback and exits with status 1 (``--debug`` shows the traceback).
    """
