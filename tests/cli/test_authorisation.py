"""A vendor writes, signs and packs the permission to go below the floor."""

import json
import re
from pathlib import Path

import pytest

from manifests.documents.authorisation import parse_authorisation
from manifests.words.text import short_digest
from tests.waybill import Done, waybill

TEXT = """\
waybill: 1
authorisation: 7
vendor: small-works
product: small
sites: []
leaves: {channel: stable, epoch: 1, sequence: 1}
goes_to: {version: 0.0.9, release: "sha256:RELEASE", channel: preview, epoch: 1, sequence: 4}
why: 0.1.0 loses orders at midnight
loses: orders typed since the upgrade
reopens: [CVE-2026-0001]
issued_at: "2026-03-01T10:00:00Z"
""".replace("RELEASE", "a" * 64)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    assert waybill("init", folder, "--product", "small").code == 0
    (folder / "authorisation.yaml").write_text(TEXT)
    return folder


def finding(*words: object) -> str:
    done = waybill(*words, "--json")
    assert done.code != 0, done.out
    found: str = json.loads(done.out)["error"]["finding"]
    return found


def test_signed_and_packed(shop: Path) -> None:
    source, made = shop / "authorisation.yaml", shop / "authorisation.json"
    done = waybill("sign", source)
    assert (done.code, "authorisation.yaml --key FILE" in done.err, made.exists()) == (2, True, False), done.err
    assert finding("sign", source, "--key", shop / "keys" / "release-1.key") == "signature-role"
    done = waybill("sign", source, "--key", shop / "keys" / "rollback-1.key")
    assert done.code == 0, done.err
    consign = f"waybill fleet consign SITE -o MEDIUM --key {shop}/keys/consignment-1.key --authorisation {made}"
    assert consign in done.out
    assert "authorisation 7: rollback of small stable, sequence 1, to 0.0.9" in done.out
    raw = made.read_bytes()
    assert parse_authorisation(raw)[1].number == 7
    assert waybill("sign", source, "--key", shop / "keys" / "rollback-1.key").code == 0
    assert made.read_bytes() == raw
    release = shop / "release.yaml"
    text = release.read_text()
    release.write_text(re.sub(r"(?m)^# (authorisations:.*)$", r"\1", text))
    assert "authorisations: [authorisation.json]" in release.read_text()
    done = waybill("build", release, "-o", shop / "out")
    assert done.code == 0, done.err
    shown = json.loads(
        waybill("verify", shop / "out" / "small-0.1.0.tar", "--root", shop / "trust" / "1.root.json", "--json").out
    )
    assert shown["ok"]
    # D-6.7: one for another release, and one that too few have signed, are not packed.
    other = TEXT.replace("sequence: 1}", "sequence: 2}").replace("authorisation: 7", "authorisation: 8")
    (shop / "other.yaml").write_text(other)
    assert waybill("sign", shop / "other.yaml", "--key", shop / "keys" / "rollback-1.key").code == 0
    release.write_text(release.read_text().replace("authorisation.json", "other.json"))
    assert finding("build", release, "-o", shop / "out2") == "authorisation-other-release"
    (shop / "third.yaml").write_text(TEXT.replace("authorisation: 7", "authorisation: 9"))
    assert waybill("sign", shop / "third.yaml", "--prepare", shop / "to-officer").code == 0
    release.write_text(release.read_text().replace("other.json", "third.json"))
    assert finding("build", release, "-o", shop / "out3") == "signature-missing"


def test_alone_it_is_refused_by_a_site_and_by_support_with_how_it_travels(shop: Path) -> None:
    source, made = shop / "authorisation.yaml", shop / "authorisation.json"
    assert waybill("sign", source, "--key", shop / "keys" / "rollback-1.key").code == 0
    assert waybill("keygen", shop / "ops.key", "--no-passphrase").code == 0
    words = json.loads(waybill("show", shop / "trust" / "1.root.json", "--json").out)["fingerprint"]
    names = ("--customer", "first-customer", "--product", "small", "--environment", "production", "--name", "east")
    site = ("--site", shop / "site")
    root = shop / "trust" / "1.root.json"
    people = ("--person", f"ops={shop}/ops.pub", "--practice", "--channel", "stable")
    ok("enroll", root, "--fingerprint", words, *names, *people, *site)
    done = waybill("receive", made, *site)
    assert done.code == 5, done
    assert "error: " in done.err
    assert "this is the vendor's authorisation of a rollback below the floor, alone" in done.err
    assert "waybill fleet consign SITE -o MEDIUM --key KEY --authorisation authorisation.json" in done.err
    # Beside what a site takes, it is passed over: the consignment carries it.
    (shop / "medium").mkdir()
    for path in (made, root):
        (shop / "medium" / path.name).write_bytes(path.read_bytes())
    done = waybill("receive", shop / "medium", *site)
    assert (done.code, "alone" in done.out) == (0, False), done


def test_signed_elsewhere(shop: Path) -> None:
    source = shop / "authorisation.yaml"
    assert waybill("sign", source, "--prepare", shop / "request").code == 0
    readme = (shop / "request" / "README.txt").read_text()
    assert "one rollback below the floor, from small stable 1 to 0.0.9" in readme
    assert "at every site of the release that carries it; reason: 0.1.0 loses" in readme
    assert waybill("sign", shop / "request", "--key", shop / "keys" / "rollback-1.key").code == 0
    done = waybill("sign", source, "--attach", shop / "request")
    assert done.code == 0, done.err
    assert len(parse_authorisation((shop / "authorisation.json").read_bytes())[0].signatures) == 1


def test_what_is_written_wrong(shop: Path) -> None:
    source, key = shop / "authorisation.yaml", shop / "keys" / "rollback-1.key"
    for old, new, words in (
        ("why:", "reason:", "authorisation.yaml:"),
        ("channel: preview, epoch: 1, sequence: 4", "channel: stable, epoch: 1, sequence: 1", "is not older than"),
        ("sequence: 1}\ngoes", "sequence: 1, bundle: x.tar}\ngoes", "`bundle` says channel, epoch, sequence already"),
        (", channel: preview, epoch: 1, sequence: 4}", "}", "lacks channel, epoch, sequence"),
        ("leaves: {channel: stable, epoch: 1, sequence: 1}", "leaves: {bundle: NOTES.md}", "NOTES.md"),
        ("leaves: {channel: stable, epoch: 1, sequence: 1}", "leaves: {bundle: gone.tar}", "there is no gone.tar"),
        ("sites: []", "sites: [northern-grid/other/production/east]", "is not a site of product small"),
    ):
        source.write_text(TEXT.replace(old, new))
        done = waybill("sign", source, "--key", key)
        assert (done.code, words in done.err) == (3, True), done.err
        judged = waybill("lint", source)
        assert (judged.code, words in judged.out) == (3, True), judged
    source.write_text(TEXT)
    assert waybill("sign", source, "--key", key).code == 0
    lines = ok("lint", source, source.with_suffix(".json")).out.splitlines()
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["good (authorisation)"] * 2
    source.with_suffix(".json").rename(shop / "cut.json")
    (shop / "cut.json").write_bytes((shop / "cut.json").read_bytes()[:-9])
    assert waybill("lint", shop / "cut.json").code == 3
    assert waybill("sign", source, "--key", key).code == 0
    source.write_text(TEXT.replace("loses orders", "loses all orders"))
    assert finding("sign", source, "--key", key) == "exists"


SITE = "first-customer/small/production/east"
PERMIT = """\
waybill: 1
authorisation: 1
vendor: VENDOR
product: small
sites: [SITE]
leaves: {bundle: m2/small-0.2.0.tar}
goes_to: {bundle: m1/small-0.1.0.tar}
why: 0.2.0 loses orders at midnight
loses: orders typed since the upgrade
reopens: [CVE-2026-0001]
issued_at: "2026-12-01T10:00:00Z"
""".replace("SITE", SITE)


def ok(*words: object, code: int = 0) -> Done:
    done = waybill(*words)
    assert done.code == code, (words, done)
    return done


def two_releases(shop: Path) -> tuple[str, Path, Path]:
    """The second one raises the floor above the first. Digest of the first, and both bundles."""
    release, rollback = shop / "release.yaml", shop / "rollback.yaml"
    text = re.sub(r", keep_running: \[.*\]", "", release.read_text())
    text = re.sub(r"(?m)^  - \{name: answers.*$", "  - {name: answers, step: service}", text)
    release.write_text(text)
    first = json.loads(ok("build", release, "-o", shop / "m1", "--json").out)["release"]
    for old, new in (
        ('version: "0.1.0"', 'version: "0.2.0"'),
        ("sequence: 1 ", "sequence: 2 "),
        ("floor: 1 ", "floor: 2 "),
        ("from: [] ", 'from: [">=0.1.0, <0.2.0"] '),
    ):
        assert old in text
        text = text.replace(old, new)
    release.write_text(text)
    (shop / "service" / "new.txt").write_text("second\n")
    assert "back_to: []" in rollback.read_text()
    one, two = shop / "m1" / "small-0.1.0.tar", shop / "m2" / "small-0.2.0.tar"
    ok("build", release, "-o", shop / "m2", "--after", one)
    return str(first), one, two


@pytest.mark.slow
def test_the_whole_way_from_a_text_at_the_vendor_to_the_word_at_home(shop: Path, tmp_path: Path) -> None:
    """Two organisations and a courier, by the command line alone."""
    keys, fleet, site, ops = shop / "keys", tmp_path / "fleet", tmp_path / "site", tmp_path / "ops-1.key"
    first, *bundles = two_releases(shop)
    ok("keygen", ops, "--no-passphrase")
    words = json.loads(ok("show", shop / "trust" / "1.root.json", "--json").out)
    names = ("--customer", "first-customer", "--product", "small", "--environment", "production", "--name", "east")
    person = ("--person", f"ops-1={tmp_path / 'ops-1.pub'}", "--practice", "--site", site)
    ok("enroll", bundles[0], "--fingerprint", words["fingerprint"], *names, *person)
    yaml = site / "site.yaml"
    yaml.write_text(re.sub(r"(?m)^config:.*$", "config: {port: 8641}", yaml.read_text()))
    for bundle, version in zip(bundles, ("0.1.0", "0.2.0"), strict=True):
        ok("receive", bundle, "--site", site)
        review = ok("review", f"r-{version}", "--site", site, "--json").out
        ok("approve", f"r-{version}", "--key", ops, "--site", site)
        contract = ("--contract", review.split('"contract": "')[1][:71]) if version == "0.1.0" else ()
        ok("install", f"r-{version}", *contract, "--site", site)
    ok(
        "fleet",
        "enroll",
        site / "outbox" / "enrolment.json",
        "--root",
        shop / "trust" / "1.root.json",
        "--fleet",
        fleet,
    )
    ok("fleet", "import", *bundles, site / "outbox", "--fleet", fleet)
    # Nobody's word at the site is enough.
    refused = ok("rollback", "--to", "1", "--key", ops, "--site", site, code=5)
    assert "ask the vendor for an authorisation" in refused.err
    # The vendor writes, signs and sends; the site is told what it is good for.
    vendor = words["document"]["vendor"]
    (shop / "back.yaml").write_text(PERMIT.replace("VENDOR", vendor))
    ok("sign", shop / "back.yaml", "--key", keys / "rollback-1.key")
    shown = ok("show", shop / "back.json").out
    assert "not verified" in shown
    assert "goes to    small 0.1.0" in shown
    assert short_digest(first) in shown
    carried = ("--key", keys / "consignment-1.key", "--authorisation", shop / "back.json", "--fleet", fleet)
    ok("fleet", "consign", SITE, "-o", tmp_path / "medium", *carried)
    came = ok("receive", tmp_path / "medium", "--site", site).out
    assert "authorisation 1, from stable 2 to 0.1.0, below the floor, once: item b-1: waybill review --site" in came
    review = ok("review", "b-1", "--site", site).out
    for words in (
        "0.2.0 loses orders at midnight",
        "orders typed since the upgrade",
        "CVE-2026-0001",
        "restores the config of that generation",
    ):
        assert words in review
    ok("rollback", "--to", "1", "--site", site, code=9)
    done = ok("rollback", "--to", "1", "--key", ops, "--site", site)
    # Before the key signs, what the review puts first.
    assert done.err.index("! the rollback leads to sequence 1, below the floor 2") < done.err.index("switch to")
    assert "0.2.0 loses orders at midnight" in done.out
    assert not (site / "srv" / "service" / "current" / "new.txt").exists()
    assert "below the floor 2, by the vendor's authorisation " in ok("status", "--site", site).out
    assert json.loads(ok("status", "--site", site, "--json").out)["below_floor"]
    assert "below the floor by authorisation " in ok("history", "--site", site).out
    # Home knows whose word that was, and the floor stands.
    told = ok("fleet", "import", site / "outbox", "--fleet", fleet).out
    assert "which consignment 1 carried" in told
    page = ok("fleet", "show", SITE, "--fleet", fleet).out
    assert "the running release is below the floor of its channel" in page
    assert "rolled back from 0.2.0 to 0.1.0 by hand, below its floor" in page
    ok("receive", tmp_path / "medium", "--site", site)
    ok("approve", "r-0.2.0", "--key", ops, "--site", site)
    ok("install", "r-0.2.0", "--site", site)
    again = ok("rollback", "--to", "1", "--key", ops, "--site", site, code=5)
    assert "authorisation 1 was used already" in again.err
