"""What `enroll` writes for the operator: a placeholder for each value that the release needs, refused by name."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from content.commands.lint import lint
from manifests.documents import release as r
from manifests.trust.private_keys import generate_key
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import MalformedError
from tests.faults.model import QuickDisk
from tests.place import NAMES, Place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.commands.check import check_command
from verifier.intake.enrolment import EnrollRequest, enroll, read_offer, read_people
from verifier.runtime.drivers.driver import load_driver
from verifier.site.proposals import read_site_yaml

SCHEMA = b'{"properties":{"port":{"type":"integer"}},"required":["port"],"type":"object"}'
PROGRAM = b"#!/bin/sh\n"
NEEDY = Vendor(
    extra={"schema": SCHEMA, "program": PROGRAM},
    change={
        "install": (
            r.InstallStep(step="images", driver="registry", images=("api",)),
            r.InstallStep(step="app", driver="files", files=("service",)),
        ),
        "probes": (r.Probe(name="up", http=r.HttpProbe(endpoint="ready", path="/", status=200)),),
        "programs": (
            r.Program(name="admin", files={"linux/amd64": Blob(digest=digest_of(PROGRAM), size=len(PROGRAM))}),
        ),
        "config": r.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1),
        "extensions": {},
    },
)
FILLED = {
    "# registry: {endpoint: FILL-IN": "registry: {endpoint: 'registry.example:5000'",
    "# program: {user: FILL-IN": "program: {user: nobody",
    "ready: FILL-IN": 'ready: "http://127.0.0.1:9"',
    "port: FILL-IN": "port: 8080",
}


def enrolled(folder: Path, *people: str) -> Place:
    keys = {name: generate_key() for name in ("ops-1", "sec-1")}
    for name, key in keys.items():
        (folder / f"{name}.pub").write_text(key.public.pem)
    place = Place(path=folder / "site", disk=QuickDisk(), people=keys)
    offer = read_offer(NEEDY.write(folder / "1.tar"), NEEDY.pin().digest, None)
    given = read_people(tuple(who.replace("@", f"{folder}/") for who in people or ("ops-1=@ops-1.pub",)))
    enroll(EnrollRequest(offer, NAMES, given, place.path), place.disk, place.clock.host())
    return place


def test_each_value_that_the_release_needs_is_a_placeholder_with_its_line(tmp_path: Path) -> None:
    place = enrolled(tmp_path)
    unfilled = read_site_yaml(place.path).unfilled
    assert [placeholder.path for placeholder in unfilled] == [
        "$.endpoints.ready",
        "$.config.port",
    ]
    lines = (place.path / "site.yaml").read_text().splitlines()
    for placeholder in unfilled:
        line = int(placeholder.error.where.rpartition(":")[2])
        assert "FILL-IN" in lines[line - 1]
        assert placeholder.path in placeholder.error.problem
    assert "the probe up, http://HOST:PORT" in "\n".join(lines)


def test_lint_names_every_placeholder(tmp_path: Path) -> None:
    path = enrolled(tmp_path).path / "site.yaml"
    assert len(lint(path).problems) == 2
    path.write_text(path.read_text().replace("\n  # ", "\n  "))
    problems = lint(path).problems
    assert len(problems) == 4
    assert all("is not filled in" in problem.problem for problem in problems)


def test_a_release_is_reviewed_whole_before_the_placeholders_are_filled_in_and_not_approved(tmp_path: Path) -> None:
    place = enrolled(tmp_path)
    place.receive(tmp_path / "1.tar")
    site = place.open()
    review = make_review(read_review_input(site, approvable_of(site, ("r-1.0.0",)), load_driver))
    placeholders = [text for _, _, text in review.findings if "is not filled in" in text]
    assert len(placeholders) == 2
    # Each is said once: what is a placeholder is not missing besides.
    assert not any("no endpoint" in text for _, _, text in review.findings)
    assert any("'images' needs the driver 'registry'" in text for _, _, text in review.findings)
    assert any("put 2 files into" in line for line in review.work)
    with pytest.raises(MalformedError, match="is not filled in"):
        place.approve("r-1.0.0")
    done = CliRunner().invoke(check_command, ["r-1.0.0", "--site", str(place.path)], catch_exceptions=False)
    assert (done.exit_code, done.output.count("is not filled in")) == (5, 2)
    assert (
        "add to site.yaml, and replace each FILL-IN:\n  drivers:\n    registry:\n      endpoint: FILL-IN" in done.output
    )


def test_filled_in_it_is_approved(tmp_path: Path) -> None:
    place = enrolled(tmp_path)
    text = (place.path / "site.yaml").read_text()
    for placeholder, value in FILLED.items():
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, value)
    (place.path / "site.yaml").write_text(text)
    place.receive(tmp_path / "1.tar")
    place.approve("r-1.0.0")
    assert not lint(place.path / "site.yaml").problems


def test_a_driver_that_is_written_elsewhere_is_there_once(tmp_path: Path) -> None:
    place = enrolled(tmp_path)
    text = (place.path / "site.yaml").read_text()
    own = "drivers:\n  registry:\n    endpoint: 'registry.example:5000'\n  program:\n    user: nobody\n"
    for placeholder, value in FILLED.items():
        text = text if placeholder.startswith("#") else text.replace(placeholder, value)
    (place.path / "site.yaml").write_text(re.sub("drivers: .*\n", own, text))
    place.receive(tmp_path / "1.tar")
    place.approve("r-1.0.0")


def test_a_placeholder_written_later_holds_the_config_back(tmp_path: Path) -> None:
    from verifier.change.install_plan import config_change

    place = Place(path=tmp_path / "site", disk=QuickDisk(), people={"ops-1": generate_key()})
    (tmp_path / "ops-1.pub").write_text(place.people["ops-1"].public.pem)
    first = Vendor()
    offer = read_offer(first.write(tmp_path / "1.tar"), first.pin().digest, None)
    people = read_people((f"ops-1={tmp_path}/ops-1.pub",))
    enroll(EnrollRequest(offer, NAMES, people, place.path), place.disk, place.clock.host())
    assert place.bring(tmp_path / "1.tar").error is None
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("endpoints: {}", "endpoints: {api: FILL-IN}"))
    with pytest.raises(MalformedError, match=r"\$\.endpoints\.api is not filled in"):
        config_change(place.open(), place.clock.host().now())


def test_every_role_that_is_named_has_to_approve(tmp_path: Path) -> None:
    place = enrolled(tmp_path, "ops-1=@ops-1.pub", "security:sec-1=@sec-1.pub")
    policy = place.open().policy
    assert {name: person.role for name, person in policy.people.items()} == {"ops-1": "operator", "sec-1": "security"}
    assert policy.rules["major"] == {"operator": 1, "security": 1}
