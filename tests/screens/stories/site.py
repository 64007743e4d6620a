"""A site from its enrolment on, as its operator sees it."""

from manifests.documents import release as r
from manifests.words.fingerprint import as_words
from tests.screens.stage import Stage
from tests.vendor import Vendor, derived

PERSON = r.Trial(at_most_seconds=3600, confirm="person")
FIRST = Vendor(practice=True)
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
THIRD = FIRST.but(version="1.2.0", sequence=3, service={"hello.txt": b"third\n"}, change={"trial": PERSON})
PROBES = (r.Probe(name="up", http=r.HttpProbe(endpoint="api", path="/health", status=200)),)
LACKING = FIRST.but(
    change={"probes": PROBES, "install": (r.InstallStep(step="images", driver="registry", images=("api",)),)},
)
NAMES = ("--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east")


def unready_site(stage: Stage) -> None:
    """A release whose driver and endpoint the site lacks, before and after its operator adds them."""
    stage.key("ops-1", derived(201))
    LACKING.write(stage.folder / "small-1.0.0.tar")
    words = as_words(LACKING.pin().digest)
    people = ("--person", "ops-1=ops-1.pub", "--site", "site", "--practice")
    stage.run("enroll", "small-1.0.0.tar", "--fingerprint", words, *NAMES, *people)
    stage.run("receive", "small-1.0.0.tar")
    stage.screen("queue-unready", "review")
    stage.screen("check-unready", "check", "r-1.0.0")
    stage.screen("review-unready", "review", "r-1.0.0")
    stage.screen("install-unready", "install", "r-1.0.0", "--dry-run")


def operator_day(stage: Stage) -> None:
    """Every command of an operator, in the order of a life: a first install, an upgrade, a rollback, the end."""
    key = stage.key("ops-1", derived(201))
    for vendor in (FIRST, SECOND, THIRD):
        vendor.write(stage.folder / f"small-{vendor.version}.tar")
    words = as_words(FIRST.pin().digest)
    people = ("--person", "ops-1=ops-1.pub", "--site", "site", "--practice")
    stage.screen("enroll-incomplete", "enroll", "small-1.0.0.tar")
    stage.screen("enroll", "enroll", "small-1.0.0.tar", "--fingerprint", words, *NAMES, *people)
    stage.screen("status-new", "status")
    stage.screen("verify", "verify", "small-1.1.0.tar", "--site", "site")
    stage.screen("verify-refused", "verify", "small-1.1.0.tar", "--fingerprint", as_words("sha256:" + "ab" * 32))
    stage.screen("show-release", "show", "small-1.1.0.tar", "--site", "site")
    stage.screen("show-enrolment", "show", "site/outbox/enrolment.json")
    stage.screen("compare", "compare", "small-1.0.0.tar", "small-1.1.0.tar")
    stage.screen("receive", "receive", "small-1.0.0.tar")
    stage.screen("receive-nothing", "receive", "site/keys")
    stage.run("approve", "r-1.0.0", "--key", key)
    stage.screen("install-without-contract", "install", "r-1.0.0")
    stage.screen("status-waiting", "status")
    contract = FIRST.release()[0].contract.digest
    stage.screen("install-dry-run", "install", "r-1.0.0", "--contract", contract, "--dry-run")
    stage.screen("install", "install", "r-1.0.0", "--contract", contract)
    stage.run("receive", "small-1.1.0.tar")
    stage.screen("install-not-agreed", "install", "r-1.1.0")
    stage.run("approve", "r-1.1.0", "--key", key)
    stage.run("install", "r-1.1.0")
    stage.screen("status", "status")
    stage.screen("rollback-dry-run", "rollback", "--dry-run")
    stage.screen("rollback", "rollback", "--key", key, "--reason", "orders were lost")
    stage.run("receive", "small-1.2.0.tar")
    stage.run("approve", "r-1.2.0", "--key", key)
    stage.screen("install-trial", "install", "r-1.2.0")
    stage.screen("status-trial", "status")
    stage.screen("confirm", "confirm", "--key", key)
    stage.screen("recover", "recover")
    stage.screen("history", "history")
    stage.screen("report", "report")
    stage.screen("report-why", "report", "--why")
    stage.screen("enroll-rotate", "enroll", "--rotate")
    stage.screen("offboard-asked", "offboard", "--reason", "retired")
    stage.screen("offboard", "offboard", "--key", key, "--yes")
