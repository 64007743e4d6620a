"""Say in words why a transaction was rolled back. The journal and reports hold the code."""

_CAUSES = {
    "observed-other": "a component was not as released",
    "probe-failed": "a probe did not pass",
    "unconfirmed": "nobody confirmed the trial in time",
    "keeper-failed": "a service could not be started or stopped",
    "switch-failed": "the switch to the new generation failed",
}


def cause_text(code: str) -> str:
    """Return the cause of a rollback in words; another code is shown as it is, with spaces."""
    return _CAUSES.get(code, code.replace("-", " "))
