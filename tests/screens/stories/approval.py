"""What people are shown before and after they approve: an upgrade with everything in it, a config, a policy."""

from pathlib import Path

from manifests.documents.contract import Contract, parse_contract
from manifests.documents.rollback import Rollback, parse_rollback
from manifests.words.fingerprint import as_words
from tests.screens.stage import Stage
from tests.screens.stories.site import NAMES
from tests.unit.verifier.approval.test_review import first_vendor, next_vendor
from tests.vendor import Vendor, derived


class _Upgrade(Vendor):
    """1.1.0 with another contract, a migration without return, one advisory fixed and one open again, many files."""

    def __init__(self) -> None:
        given = next_vendor()
        files = {f"page-{i:02}.html": b"%d" % i for i in range(20)}
        changes = {name: given.change[name] for name in ("advisories", "fixes", "handlers", "programs")}
        super().__init__(
            version="1.1.0",
            sequence=2,
            practice=True,
            service={**given.service, **files},
            extra={name: given.extra[name] for name in ("vex", "admin")},
            change=changes,
        )

    def contract(self) -> Contract:
        return parse_contract(next_vendor().extra["contract"])

    def rollback(self) -> Rollback:
        return parse_rollback(next_vendor().extra["rollback"])


def approvals(stage: Stage) -> None:
    """Review and approve an upgrade, a rollback, a new config and a new policy."""
    key = stage.key("ops-1", derived(201))
    stage.key("sec-1", derived(202))
    first = first_vendor().but(practice=True)
    upgrade = _Upgrade()
    first.write(stage.folder / "small-1.0.0.tar")
    upgrade.write(stage.folder / "small-1.1.0.tar")
    words = as_words(first.pin().digest)
    people = ("--person", "ops-1=ops-1.pub", "--site", "site", "--practice")
    stage.run("enroll", "small-1.0.0.tar", "--fingerprint", words, *NAMES, *people)
    stage.run("receive", "small-1.0.0.tar")
    stage.screen("review-first", "review", "r-1.0.0")
    stage.run("approve", "r-1.0.0", "--key", key)
    contract = first.release()[0].contract.digest
    stage.run("install", "r-1.0.0", "--contract", contract)
    stage.run("receive", "small-1.1.0.tar")
    Path("sec-1.pub").rename("site/people/sec-1.pub")
    _edit("site/policy.yaml", "policy: 1 ", "policy: 2 ")
    _edit("site/policy.yaml", "\n\nrules:", '\n  "sec-1": {role: security, keys: ["people/sec-1.pub"]}\n\nrules:')
    stage.screen("review-queue", "review")
    stage.screen("review-upgrade", "review", "r-1.1.0")
    stage.screen("review-policy", "review", "policy")
    stage.screen("review-request", "review", "r-1.1.0", "--out", "request")
    stage.screen("review-request-read", "review", "request")
    stage.screen("reject", "reject", "r-1.1.0", "--key", key, "--reason", "after the audit")
    stage.screen("approve", "approve", "r-1.1.0", "--key", key)
    stage.screen("answer", "approve", "request", "--key", key, "--condition", "after the backup")
    _edit("site/site.yaml", "generations: 3", "generations: 5")
    stage.screen("review-config", "review", "config")


def _edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text, old
    Path(path).write_text(text.replace(old, new))
