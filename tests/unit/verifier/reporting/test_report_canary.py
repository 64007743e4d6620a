"""What must not leave a site: a secret is planted in every input, and looked for in every byte of every way out."""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace as with_

from fleet.intake.transports import read_symbols
from manifests.documents import release as rel
from manifests.documents.consignment import Request
from manifests.transport.armour import find_armour, open_armour
from manifests.transport.symbols import gather, join_report, parse_symbol
from manifests.trust.private_keys import generate_key
from manifests.words.digest import Blob, digest_of
from tests.consignments import consignment_for, signed
from tests.faults.model import QuickDisk
from tests.place import NAMES, Clock, Place
from tests.vendor import Vendor
from verifier.approval.approve import VerdictRequest, give_verdict
from verifier.approval.queue import waiting_items
from verifier.commands.report import report_command
from verifier.install.rollback import RollbackRequest, rollback
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.intake.enrolment import EnrollRequest, enroll, read_offer
from verifier.intake.enrolment_files import NewPerson
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.probes.probe import ProbeContext, ProbeResult
from verifier.site.host import Host
from verifier.site.journal.events import Alarm, Note

SCHEMA = b'{"type":"object","additionalProperties":true}'
PROBE = rel.Probe(name="up", tcp=rel.TcpProbe(endpoint="api"))
CONFIG = rel.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1)
ONE = Vendor(extra={"schema": SCHEMA}, change={"probes": (PROBE,), "config": CONFIG})
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})

# One secret for each thing that people write, name or own; small letters, so that it is a name where one is asked for.
PLANTED = (
    "person-who-agrees",
    "person-who-refuses",
    "account",
    "sudo",
    "host-name",
    "endpoint",
    "config-value",
    "config-name",
    "driver-folder",
    "policy-remark",
    "medium",
    "condition",
    "refusal",
    "rollback-reason",
    "probe-detail",
    "alarm-detail",
    "note-detail",
    "request-parameter",
    "drifted-content",
    "backup-label",
)


def canary(what: str) -> str:
    """Unlike anything else, and the same on every run."""
    return "zq" + hashlib.sha256(what.encode()).hexdigest()[:14]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A site whose people, account, addresses, folders and words are all secrets."""
    folder = tmp_path / canary("host-name")
    folder.mkdir()
    people = {canary("person-who-agrees"): generate_key(), canary("person-who-refuses"): generate_key()}
    pubs = {}
    for name, signer in people.items():
        pubs[name] = NewPerson(folder / f"{name}.pub")
        pubs[name].key.write_text(signer.public.pem)
    place = Place(path=folder / "site", disk=QuickDisk(), people=people)
    offer = read_offer(ONE.write(folder / "offer.tar"), ONE.pin().digest, None)
    enroll(EnrollRequest(offer, NAMES, pubs, place.path), place.disk, place.clock.host())
    yaml = place.path / "site.yaml"
    text = yaml.read_text().replace("reserve: 16MiB", "reserve: 64KiB")
    text = text.replace("api: FILL-IN", f'api: "tcp://{canary("endpoint")}:1"')
    text = text.replace("files: {root: srv}", f"files: {{root: {canary('driver-folder')}}}")
    text = text.replace("config: {}", f"config: {{{canary('config-name')}: {canary('config-value')}, replicas: 2}}")
    yaml.write_text(text)
    policy = place.path / "policy.yaml"
    policy.write_text(policy.read_text() + f"# {canary('policy-remark')}\n")
    place.clock.host = lambda account="": host(place.clock)  # type: ignore[method-assign]  # a host of secrets
    return place


def host(clock: Clock) -> Host:
    plain = Clock.host(clock, canary("account"))
    return replace(plain, actor=with_(plain.actor, sudo=canary("sudo")))


def fails(probe: rel.Probe, context: ProbeContext) -> ProbeResult:
    return ProbeResult(probe.name, "failing", canary("probe-detail"))


def live(place: Place, tmp_path: Path) -> None:
    """Everything that a site can do with words: agree, refuse, fail, go back, be asked, be alarmed."""
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    medium = tmp_path / canary("medium")
    medium.mkdir()
    agrees, refuses = place.people
    item = place.receive(ONE.write(medium / "one.tar")).item
    say(place, item, refuses, "reject", canary("refusal"))
    say(place, item, agrees, "approve", canary("condition"))
    place.install(item)
    again = place.receive(TWO.write(medium / "two.tar")).item
    say(place, again, agrees, "approve", canary("condition"))
    place.look = fails  # type: ignore[method-assign]  # from here on a probe fails, and says why
    place.install(again)
    place.look = Place.look.__get__(place)  # type: ignore[method-assign]  # as it was
    place.approve(again, agrees)
    place.install(again)
    place.approve("b-1", agrees)
    with place.hold() as site:
        tools = place.tools()
        rollback(site, RollbackRequest(number=1, reason=canary("rollback-reason")), tools, place._tell)
        site.record(Alarm(code="sequence-twice", digest=digest_of(b"x"), detail=canary("alarm-detail")))
        site.record(Note(code="clock", detail=canary("note-detail")))
    said = consignment_for(
        place.open().state,
        requests=(Request(request="q1", handler="restart", parameters={"what": canary("request-parameter")}),),
    )
    (medium / "note").write_bytes(signed(said))
    with place.hold() as site:
        receive_consignment(site, peek_consignment_file(medium / "note"))
    placed = next(one for one in (place.path / canary("driver-folder")).rglob("hello.txt") if not one.is_symlink())
    placed.chmod(0o644)
    placed.write_text(canary("drifted-content"))
    (place.path / "backups" / canary("backup-label")).write_bytes(b"")
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("replicas: 2", f"replicas: 3, more: {canary('config-value')}"))
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)


def say(place: Place, item: str, person: str, verdict: str, words: str) -> None:
    with place.hold() as site:
        give_verdict(site, place.people[person], VerdictRequest((item,), verdict, words), load_driver)  # type: ignore[arg-type]  # one of the two words


def ways_out(place: Place, tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that a courier, a letter, a picture or a voice takes along, by its way."""
    for path in sorted((place.path / "outbox").iterdir()):
        yield f"outbox/{path.name}", path.name.encode() + b"\0" + path.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    for words in (("--text",), ("--line",), ("--qr-out", str(out / "qr.png")), ("--out", str(out))):
        done = CliRunner().invoke(report_command, [*words, "--site", str(place.path)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        if words[0] in ("--text", "--line"):
            yield words[0], done.stdout.encode()
    texts: list[str] = []
    for path in sorted(out.iterdir()):
        yield path.name, path.name.encode() + b"\0" + path.read_bytes()
        if path.suffix == ".png":
            texts += read_symbols(path.read_bytes(), path.name)
    yield "symbols", "\n".join(texts).encode()


def unfolded(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and what is folded up in them: base64, lines of armour, base 45 of symbols, deflate."""
    yield data
    if depth == 4:
        return
    for run in set(re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", data)):
        body = run.rstrip(b"=")
        yield from (
            unfolded(base64.b64decode(body + b"=" * (-len(body) % 4), validate=False), depth + 1)
            if len(body) % 4 != 1
            else ()
        )
    for block in find_armour(data):
        yield from unfolded(open_armour(block, "x"), depth + 1)
    if b"WB1:" in data:
        found = [one for text in data.decode().splitlines() if (one := parse_symbol(text, "x"))]
        for group in gather(found).values():
            if not group.missing:
                yield from unfolded(join_report(group, "x"), depth + 1)
    for wbits in (-15, 15):
        try:
            yield from unfolded(zlib.decompressobj(wbits).decompress(data, 1 << 20), depth + 1) if depth else ()
        except zlib.error:
            continue


def shapes(secret: str) -> tuple[bytes, ...]:
    """A secret as it is, in capitals, in hex, backwards, and as a bare digest that anybody could try."""
    raw = secret.encode()
    digest = hashlib.sha256(raw).hexdigest().encode()
    return (raw, raw.upper(), raw.hex().encode(), raw[::-1], digest)


def test_no_secret_leaves_in_any_form(place: Place, tmp_path: Path) -> None:
    live(place, tmp_path)
    files = [path for path in place.path.rglob("*") if path.is_file()]
    inside = [*(str(path).encode() for path in files), *(path.read_bytes() for path in files)]
    # Each was really planted, and the site itself knows it.
    unknown = {one for one in PLANTED if not any(canary(one).encode() in data for data in inside)}
    layers = [layer for data in inside for layer in unfolded(data)] if unknown else []
    assert [one for one in unknown if not any(canary(one).encode() in layer for layer in layers)] == []
    state = place.open().state
    configs = {one.config for one in state.installs.generations} | {one.settings for one in state.installs.generations}
    secrets = [(one, shape) for one in PLANTED for shape in shapes(canary(one))]
    # Nobody may try values against these: they are sealed, or they stay.
    secrets += [("digest of a config", str(one).removeprefix("sha256:").encode()) for one in configs if one]
    secrets += [
        ("digest of a proposal", one.head.digest[7:].encode())
        for one in waiting_items(place.open())
        if one.item == "config"
    ]
    secrets += [("the salt", place.open().entries[0].record.event.salt[7:].encode())]  # type: ignore[union-attr]  # the enrolment
    looked = 0
    for way, data in ways_out(place, tmp_path):
        for layer in unfolded(data):
            looked += 1
            found = sorted({name for name, shape in secrets if shape in layer})
            assert found == [], f"{way}: {found}"
    assert looked > 50


def test_the_search_finds_what_is_folded_up(place: Place, tmp_path: Path) -> None:
    """The test above is worth something only if it can fail: what does leave is found behind every way out."""
    live(place, tmp_path)
    # Roles and key ids leave.
    agrees = next(iter(place.people.values())).public.keyid.encode()
    found = {way for way, data in ways_out(place, tmp_path) if any(agrees in layer for layer in unfolded(data))}
    assert {"--text", "symbols"} <= found
    assert [one for one in found if one.startswith("outbox/")]
    assert [one for one in found if one.startswith("northern-grid.")]
