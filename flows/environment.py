"""What the command sets for the tools it starts: no analytics, patient start-up, and quiet consoles.

Every value is a default: a variable that the user has set stays as it is.
"""

import os

NO_ANALYTICS = {
    "DO_NOT_TRACK": "true",  # MLflow knows no other spelling
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}
PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}  # its first start migrates a database
QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command draws progress itself; the API keeps every line
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",  # its events that find no server when a run is broken off
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",  # forked workers would warn, and gain nothing on a worker's few cores
}


def prepare(*, debug: bool = False) -> None:
    """Set the defaults for this process and those it starts. Call before the tools are imported."""
    for name, value in {**NO_ANALYTICS, **PATIENT, **({} if debug else QUIET)}.items():
        os.environ.setdefault(name, value)
