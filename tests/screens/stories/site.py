"""A site from its enrolment on, as its operator sees it."""

from manifests.words.fingerprint import as_words
from tests.screens.stage import Stage
from tests.vendor import Vendor, derived

FIRST = Vendor(practice=True)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
NAMES = ("--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east")


def operator_day(stage: Stage) -> None:
    """Enroll, receive, approve, install, roll back."""
    key = stage.key("ops-1", derived(201))
    FIRST.write(stage.folder / "small-1.0.0.tar")
    SECOND.write(stage.folder / "small-1.1.0.tar")
    words = as_words(FIRST.pin().digest)
    people = ("--person", "ops-1=ops-1.pub", "--site", "site", "--practice")
    stage.screen("enroll", "enroll", "small-1.0.0.tar", "--fingerprint", words, *NAMES, *people)
    stage.screen("verify", "verify", "small-1.1.0.tar", "--site", "site")
    stage.screen("receive", "receive", "small-1.0.0.tar")
    stage.run("approve", "r-1.0.0", "--key", key)
    stage.screen("install-first", "install", "r-1.0.0")
    stage.screen("status-waiting", "status")
