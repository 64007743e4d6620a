"""Every signed document, shown and verified; and media that bring consignments, roots, lists and answers."""

from pathlib import Path
from unittest.mock import patch

from bundler.commands import kit as kit_commands
from bundler.kit import Kit
from content.bundle.head import open_head
from manifests.documents.closure import STEPS, Closure, ClosureStep, KeptReports, sign_closure
from manifests.documents.consignment import Request
from manifests.documents.report import Acknowledged
from manifests.words.fingerprint import as_words
from tests.authorisations import authorisation, carried, sealed
from tests.consignments import consignment_for, signed
from tests.place import Place
from tests.rootwork import SECOND_ROOT_FILE, listing, next_root, with_chain
from tests.screens.stage import Stage
from tests.screens.stories.site import NAMES
from tests.vendor import CONSIGNMENT, Vendor, derived

FIRST = Vendor()
SECOND = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})
SITE = ("--site", "site")


def signed_documents(stage: Stage) -> None:
    """Show and verify one document of each kind with what the site trusts, and one without."""
    place, key = _site(stage)
    state = place.open().state
    first = state.installs.generation(1)
    assert first is not None
    permit = authorisation(first)
    asked = (Request(request="q1", handler="restart", parameters={"unit": "api"}),)
    consignment = consignment_for(state, acknowledge=True, requests=asked, authorisations=(carried(permit),))
    files = {
        "root": FIRST.root_file(),
        "revocations": listing(3, keys=("f" * 64,)),
        "authorisation": sealed(permit),
        "signature": open_head(Path("small-1.0.0.tar")).signatures[0].bundle,
        "consignment": signed(consignment),
        "receipt": _receipt(place),
    }
    for name, data in files.items():
        Path(f"{name}.json").write_bytes(data)
    stage.run("review", "r-1.1.0", "--out", "request")
    stage.run("approve", "request", "--key", key)
    answer = next(Path("request/answers").iterdir()).rename("answer.json")
    paths = {**{name: Path(f"{name}.json") for name in files}, "answer": answer}
    paths |= {"report": Path("site/outbox/1.report.json"), "request": Path("request/request.json")}
    for name, path in paths.items():
        stage.screen(f"show-{name}", "show", path, *SITE)
        stage.screen(f"verify-{name}", "verify", path, *SITE)
    stage.screen("verify-enrolment", "verify", "site/outbox/enrolment.json", *SITE)
    stage.screen("show-wrong-root", "show", "consignment.json", "--root", "signature.json")
    stage.screen("show-of-no-document", "show", "site/policy.yaml")


def media(stage: Stage) -> None:
    """Receive each kind of file, good and damaged; another key, another root, another configuration."""
    place, key = _site(stage)
    state = place.open().state
    first = state.installs.generation(1)
    assert first is not None
    consignment = consignment_for(state, acknowledge=True, authorisations=(carried(authorisation(first)),))
    stage.run("review", "r-1.1.0", "--out", "request")
    stage.run("approve", "request", "--key", key)
    _medium("answers", answer=next(Path("request/answers").iterdir()).read_bytes())
    stage.screen("receive-answer", "receive", "answers")
    _medium("post", consignment=signed(consignment), other=signed(consignment_for(state, 2, site="a/b/c/d")))
    stage.screen("receive-consignment", "receive", "post")
    _medium("trust", root=SECOND_ROOT_FILE, revocations=listing(3, derived(401), keys=("f" * 64,)))
    stage.screen("receive-trust", "receive", "trust")
    bundle = bytearray(with_chain(FIRST.but(version="1.2.0", sequence=3), (FIRST.root_file(), SECOND_ROOT_FILE)))
    bundle[-3000] ^= 1
    _medium("damaged", bundle=bytes(bundle))
    stage.screen("receive-damaged", "receive", "damaged")
    stage.screen("enroll-renew", "enroll", "--renew", "key-lost")
    Path("new-root.json").write_bytes(next_root(FIRST.root_file(), version=1, previous=None, leave={}))
    words = as_words("sha256:" + "ab" * 32)
    stage.screen(
        "enroll-new-root-wrong", "enroll", "new-root.json", "--new-root", "keys burned", "--fingerprint", words
    )
    journal = next(Path("site/journal").glob("*.jsonl"))
    journal.write_bytes(journal.read_bytes().replace(b'"received"', b'"Received"', 1))
    stage.screen("status-broken", "status")
    stage.screen("install-broken", "install", "r-1.1.0")


def kit(stage: Stage) -> None:
    """Write a kit. Only the download and the file are replaced: the screen must not depend on a package index."""
    made = Kit(path=Path("kit/waybill.pyz"), size=26_400_000, digest="sha256:" + "ab" * 32, targets=("linux-x86_64",))
    with (
        patch.object(kit_commands, "fetch_wheels", lambda folder, distributions: None),
        patch.object(kit_commands, "write_kit", lambda path, wheels, distributions: made),
    ):
        stage.screen("kit", "kit", "kit")
    Path("empty").mkdir()
    stage.screen("kit-without-wheels", "kit", "kit", "--wheels", "empty")


def _site(stage: Stage) -> tuple[Place, Path]:
    """A site that runs 1.0.0 and has received 1.1.0; the key file of its one approver."""
    key = stage.key("ops-1", derived(201))
    for vendor in (FIRST, SECOND):
        vendor.write(stage.folder / f"small-{vendor.version}.tar")
    words = as_words(FIRST.pin().digest)
    stage.run("enroll", "small-1.0.0.tar", "--fingerprint", words, *NAMES, "--person", "ops-1=ops-1.pub", *SITE)
    stage.run("receive", "small-1.0.0.tar")
    stage.run("approve", "r-1.0.0", "--key", key)
    stage.run("install", "r-1.0.0", "--contract", FIRST.release()[0].contract.digest)
    stage.run("receive", "small-1.1.0.tar")
    place = Place(stage.folder / "site", clock=stage.clock, people={"ops-1": derived(201)})
    assert place.open().state.installs.generation(1) is not None
    return place, key


def _receipt(place: Place) -> bytes:
    state = place.open().state
    closure = Closure(
        vendor="small-works",
        site=state.site,
        site_key=state.site_key.keyid,
        reason="ended",
        requested_at="2026-03-01T10:00:00Z",
        closed_at="2026-04-01T10:00:00Z",
        last_report=Acknowledged(seq=1, digest=state.reports.head or ""),
        steps=tuple(ClosureStep(step=step, standing="proven") for step in STEPS),
        unanswered=(2,),
        kept=(KeptReports(what="reports", count=4, until="2027-04-01T10:00:00Z"),),
    )
    return sign_closure(closure, (CONSIGNMENT,))


def _medium(name: str, **files: bytes) -> None:
    Path(name).mkdir()
    for file, data in files.items():
        (Path(name) / file).write_bytes(data)
