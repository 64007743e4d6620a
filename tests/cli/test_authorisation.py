"""A vendor writes, signs and packs the permission to go below the floor."""

import json
import re
from pathlib import Path

import pytest

from manifests.authorisation import parse_authorisation
from tests.waybill import waybill

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
    assert finding("sign", source, "--key", shop / "keys" / "release-1.key") == "signature-role"
    done = waybill("sign", source, "--key", shop / "keys" / "rollback-1.key")
    assert done.code == 0, done.err
    assert "authorisation 7: small stable 1 back to 0.0.9" in done.out
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
    # F-216: one for another release, and one that too few have signed, are not packed.
    other = TEXT.replace("sequence: 1}", "sequence: 2}").replace("authorisation: 7", "authorisation: 8")
    (shop / "other.yaml").write_text(other)
    assert waybill("sign", shop / "other.yaml", "--key", shop / "keys" / "rollback-1.key").code == 0
    release.write_text(release.read_text().replace("authorisation.json", "other.json"))
    assert finding("build", release, "-o", shop / "out2") == "authorisation-other-release"
    (shop / "third.yaml").write_text(TEXT.replace("authorisation: 7", "authorisation: 9"))
    assert waybill("sign", shop / "third.yaml", "--prepare", shop / "to-officer").code == 0
    release.write_text(release.read_text().replace("other.json", "third.json"))
    assert finding("build", release, "-o", shop / "out3") == "signature-missing"


def test_signed_elsewhere(shop: Path) -> None:
    source = shop / "authorisation.yaml"
    assert waybill("sign", source, "--prepare", shop / "request").code == 0
    readme = (shop / "request" / "README.txt").read_text()
    assert "below the floor, once, at every site of the release that carries it; because: 0.1.0 loses" in readme
    assert waybill("sign", shop / "request", "--key", shop / "keys" / "rollback-1.key").code == 0
    done = waybill("sign", source, "--attach", shop / "request")
    assert done.code == 0, done.err
    assert len(parse_authorisation((shop / "authorisation.json").read_bytes())[0].signatures) == 1


def test_what_is_written_wrong(shop: Path) -> None:
    source, key = shop / "authorisation.yaml", shop / "keys" / "rollback-1.key"
    for old, new, words in (
        ("why:", "reason:", "authorisation.yaml:"),
        ("channel: preview, epoch: 1, sequence: 4", "channel: stable, epoch: 1, sequence: 1", "does not lead back"),
        ("sites: []", "sites: [northern-grid/other/production/east]", "no site of small"),
    ):
        source.write_text(TEXT.replace(old, new))
        done = waybill("sign", source, "--key", key)
        assert (done.code, words in done.err) == (3, True), done.err
    source.write_text(TEXT)
    assert waybill("sign", source, "--key", key).code == 0
    source.write_text(TEXT.replace("loses orders", "loses all orders"))
    assert finding("sign", source, "--key", key) == "exists"
