"""What people are shown before and after they approve: an upgrade with everything in it, a config, a policy."""

from dataclasses import replace
from pathlib import Path

from manifests.words.fingerprint import as_words
from tests.screens.stage import Stage
from tests.screens.stories.site import NAMES
from tests.unit.verifier.test_review import first_vendor, next_vendor
from tests.vendor import derived


def approvals(stage: Stage) -> None:
    """Review and approve an upgrade, a rollback, a new config and a new policy."""
    key = stage.key("ops-1", derived(201))
    stage.key("sec-1", derived(202))
    first = first_vendor().but(practice=True)
    upgrade = next_vendor().but(practice=True)
    changes = {name: value for name, value in upgrade.change.items() if name not in ("images", "config")}
    files = {f"page-{i:02}.html": b"%d" % i for i in range(20)}
    upgrade = replace(upgrade, change=changes, service={**upgrade.service, **files})
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


def _edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text, old
    Path(path).write_text(text.replace(old, new))
