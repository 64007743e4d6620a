"""Whoever signs sees what, before a key is opened; a swapped document is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from content.commands.open_key import open_keys
from content.signing.preview import MAX_LINES
from manifests.trust.private_keys import Signer
from manifests.words.fingerprint import as_groups, as_words
from tests.unit.bundler.test_trust import ROLES, Vendor, id_of
from tests.vendor import Vendor as Releases
from tests.waybill import Done, waybill


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    """A vendor of three root keys, two of which sign."""
    (tmp_path / "keys").mkdir()
    vendor = Vendor(tmp_path)
    vendor.trust(**ROLES)
    vendor.sign("1.root.json", "ann", "ben")
    return vendor


def root_fingerprint(vendor: Vendor, name: str) -> str:
    fingerprint: str = vendor.run("show", vendor.path / "trust" / name)["fingerprint"]
    return fingerprint


def encrypted(vendor: Vendor, name: str) -> Path:
    """A key with a passphrase that no terminal is there to type."""
    key = vendor.path / "keys" / f"{name}.key"
    done = waybill("keygen", key, "--passphrase-fd", "0", stdin=b"correct horse\n")
    assert done.code == 0, done.err
    return key


def lines(done: Done) -> list[str]:
    return [" ".join(line.split()) for line in (done.err + done.out).splitlines()]


def weaker(vendor: Vendor) -> Path:
    """Root 2: cat leaves, dan joins, one root key is enough, and a second product is signed."""
    roles: dict[str, Any] = {**ROLES, "root": (["ann", "ben", "dan"], 1)}
    vendor.trust(**roles, leave=[{"key": "cat", "how": "revoked"}])
    return vendor.path / "trust" / "2.root.json"


def test_a_root_is_shown_before_the_passphrase_is_asked_for(vendor: Vendor) -> None:
    key = encrypted(vendor, "ann-2")
    root = weaker(vendor)
    done = waybill("sign", root, "--key", key)
    assert done.code == 2, done.err
    assert done.err.index("joins        root") < done.err.index("a passphrase is needed")
    shown = lines(done)
    dan, cat = (f"{name} ({id_of(vendor, name)[:12]})" for name in ("dan", "cat"))
    assert f"joins root: {dan}" in shown
    assert f"leaves root: {cat}, revoked" in shown
    assert "changes threshold of root from 2 to 1" in shown
    assert "warning threshold of role root falls from 2 to 1" in shown
    assert f"fingerprint {as_groups(root_fingerprint(vendor, '2.root.json'))}" in shown


def test_a_swapped_request_is_shown_and_refused(vendor: Vendor, tmp_path: Path) -> None:
    vendor.trust(**{**ROLES, "consignment": (["desk", "desk-2"], 1)})
    root = vendor.path / "trust" / "2.root.json"
    agreed = as_words(root_fingerprint(vendor, "2.root.json"))
    assert waybill("sign", root, "--prepare", tmp_path / "request").code == 0
    root.unlink()
    swapped = weaker(vendor)
    assert waybill("sign", swapped, "--prepare", tmp_path / "swapped").code == 0
    for name in ("request", "swapped"):
        shown = lines(waybill("sign", tmp_path / name, "--key", encrypted(vendor, f"late-{name}")))
        assert any(line.startswith("joins consignment") for line in shown) == (name == "request")
        assert ("changes threshold of root from 2 to 1" in shown) == (name == "swapped")
    ann = vendor.key("ann")
    done = waybill("sign", tmp_path / "swapped", "--key", ann, "--fingerprint", agreed, "--json")
    assert (done.code, done.json["error"]["finding"]) == (5, "fingerprint-other")
    assert not list((tmp_path / "swapped").glob("*.sig"))
    done = waybill("sign", swapped, "--key", ann, "--fingerprint", agreed, "--json")
    assert (done.code, done.json["error"]["finding"]) == (5, "fingerprint-other")
    assert not json.loads(swapped.read_bytes())["signatures"]
    assert waybill("sign", tmp_path / "request", "--key", ann, "--fingerprint", agreed).code == 0


@pytest.mark.parametrize("part", ["words", "groups", "hex"])
def test_a_part_of_a_fingerprint_is_no_fingerprint(part: str, vendor: Vendor) -> None:
    whole = root_fingerprint(vendor, "1.root.json")
    texts = {"words": as_words(whole).split()[:12], "groups": as_groups(whole).split()[:8], "hex": [whole[:40]]}
    root, key = vendor.path / "trust" / "1.root.json", vendor.key("ann")
    assert waybill("sign", root, "--key", key, "--fingerprint", " ".join(texts[part])).code == 2
    for text in (as_words(whole), as_groups(whole), whole):
        assert waybill("sign", root, "--key", key, "--fingerprint", text).code == 0


def test_a_version_before_that_is_not_the_one_named_is_not_compared(vendor: Vendor, tmp_path: Path) -> None:
    root = weaker(vendor)
    assert waybill("sign", root, "--prepare", tmp_path / "request").code == 0
    other = json.loads((tmp_path / "request" / "previous.root.json").read_bytes())
    other["signatures"] = other["signatures"][:1]
    (tmp_path / "request" / "previous.root.json").write_text(json.dumps(other))
    shown = lines(waybill("sign", tmp_path / "request", "--key", vendor.key("ann")))
    assert "warning root 1, which this one names, is not here: what changes is not shown" in shown


def test_after_a_signature_who_is_missing_and_what_is_next(vendor: Vendor) -> None:
    vendor.trust(**{**ROLES, "consignment": (["desk", "desk-2"], 1)})
    root = vendor.path / "trust" / "2.root.json"
    done = waybill("sign", root, "--key", vendor.key("ann"))
    by_id = sorted((id_of(vendor, name), f"{name} ({id_of(vendor, name)[:12]})") for name in ("ben", "cat"))
    assert ", ".join(shown for _, shown in by_id) in done.out
    assert f"  waybill sign {root} --key {vendor.key(by_id[0][1].split()[0])}" in done.out.splitlines()
    assert any(line.startswith(f"  waybill sign {root} --prepare DIR") for line in done.out.splitlines())
    done = waybill("sign", root, "--key", vendor.key("cat"))
    assert "missing" not in done.out
    assert f"  waybill show {root}" in done.out


def test_a_release_shows_every_line_and_what_changes(tmp_path: Path) -> None:
    Releases().write(tmp_path / "first.tar")
    bundle = Releases(sequence=2, signers=()).write(tmp_path / "second.tar")
    assert waybill("sign", bundle, "--prepare", tmp_path / "request").code == 0
    (tmp_path / "keys").mkdir()
    key = encrypted(Vendor(tmp_path), "late")
    at_the_bundle = lines(waybill("sign", bundle, "--key", key))
    elsewhere = lines(waybill("sign", tmp_path / "request", "--key", key))
    for shown in (at_the_bundle, elsewhere):
        for start in (
            "release version: ",
            "release floor: ",
            "release audience: ",
            "contract signal ",
            "rollback class: ",
        ):
            assert any(line.startswith(start) for line in shown), start
        assert any(line.startswith("compared with small ") for line in shown)
        assert "changes release sequence: 1 to 2" in shown
    assert [line for line in at_the_bundle if ": " in line][:-1] == [line for line in elsewhere if ": " in line][:-1]
    for name in ("contract.json", "base.contract.json", "base.release.json"):
        (tmp_path / "request" / name).unlink()
    shown = lines(waybill("sign", tmp_path / "request", "--key", key))
    assert any(line.startswith("warning not shown: telemetry contract of ") for line in shown)
    assert not any(line.startswith("compared") for line in shown)


def test_a_list_names_what_it_revokes(vendor: Vendor, tmp_path: Path) -> None:
    Releases().write(tmp_path / "small-0.1.0.tar")
    digest = vendor.run("show", tmp_path / "small-0.1.0.tar")["release"]
    vendor.trust(**ROLES, revoked={"keys": ["build-1"], "releases": [digest]})
    revoked = vendor.path / "trust" / "1.revocations.json"
    key = encrypted(vendor, "late")
    shown = lines(waybill("sign", revoked, "--key", key))
    assert any(line.startswith("release ") and "(small " in line for line in shown)
    named = f"key build-1 ({id_of(vendor, 'build-1')[:12]}), new"
    assert named in shown
    assert waybill("sign", revoked, "--prepare", tmp_path / "request").code == 0
    shown = lines(waybill("sign", tmp_path / "request", "--key", key))
    assert any(line.startswith("release ") and "(small " in line for line in shown)
    assert named in shown  # the folder names the keys
    assert named in lines(waybill("show", tmp_path / "request"))
    assert named.removesuffix(", new") in lines(waybill("show", revoked))


AUTHORISATION = """\
waybill: 1
authorisation: 7
vendor: small-works
product: small
sites: []
leaves: {channel: stable, epoch: 1, sequence: 2}
goes_to: {version: 0.0.9, release: "DIGEST", channel: stable, epoch: 1, sequence: 1}
why: 0.1.0 loses orders at midnight
loses: orders typed since the upgrade
issued_at: "2026-03-01T10:00:00Z"
"""


def test_an_authorisation_that_leads_to_a_revoked_release(vendor: Vendor, tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    source = vendor.path / "authorisation.yaml"
    source.write_text(AUTHORISATION.replace("DIGEST", digest))
    key = encrypted(vendor, "late")
    shown = lines(waybill("sign", source, "--key", key))
    assert "leaves small, stable 2 of epoch 1" in shown
    assert "goes to small 0.0.9, stable 1 of epoch 1" in shown
    assert not any(line.startswith("warning") for line in shown)
    vendor.trust(**ROLES, revoked={"releases": [digest]})
    warning = "warning it leads to small 0.0.9, which revocation list 1 revokes: no site will take it"
    assert warning in lines(waybill("sign", source, "--key", key))
    done = waybill("sign", source, "--prepare", tmp_path / "request", "--json")
    assert done.json["signs"]["warnings"]
    assert warning in lines(waybill("sign", tmp_path / "request", "--key", key))
    warning = "warning authorisation.json leads to small 0.0.9, which this list revokes"
    assert warning in lines(waybill("sign", vendor.path / "trust" / "1.revocations.json", "--key", key))


def test_what_changed_after_it_was_shown_is_not_signed(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    root, key = weaker(vendor), vendor.key("ann")
    data = root.read_bytes()

    def swap(keys: tuple[str, ...], passphrase_fd: int | None) -> tuple[Signer, ...]:
        shutil.copy(vendor.path / "trust" / "1.root.json", root)
        return open_keys(keys, passphrase_fd)

    monkeypatch.setattr("content.commands.sign.open_keys", swap)
    assert vendor.run("sign", root, "--key", key, code=5)["error"]["finding"] == "changed"
    assert root.read_bytes() == (vendor.path / "trust" / "1.root.json").read_bytes() != data


def test_two_documents_in_a_request_are_refused(vendor: Vendor, tmp_path: Path) -> None:
    root = weaker(vendor)
    assert waybill("sign", root, "--prepare", tmp_path / "request").code == 0
    bundle = Releases(signers=()).write(tmp_path / "small.tar")
    assert waybill("sign", bundle, "--prepare", tmp_path / "release").code == 0
    shutil.copy(tmp_path / "release" / "release.json", tmp_path / "request")
    done = waybill("sign", tmp_path / "request", "--key", vendor.key("ann"), "--json")
    assert (done.code, done.json["error"]["problem"]) == (3, "the folder holds release.json and root.json")


def test_the_readme_says_how_to_look(vendor: Vendor, tmp_path: Path) -> None:
    assert waybill("sign", weaker(vendor), "--prepare", tmp_path / "request").code == 0
    text = (tmp_path / "request" / "README.txt").read_text()
    assert "waybill show THIS-FOLDER" in text
    assert as_words(root_fingerprint(vendor, "2.root.json")) in text
    assert "changes      threshold of root from 2 to 1" in text


def test_long_parts_are_cut(tmp_path: Path) -> None:
    files = {f"file-{i:03}": b"%d" % i for i in range(MAX_LINES + 5)}
    bundle = Releases(service=files, signers=()).write(tmp_path / "small.tar")
    done = waybill("sign", bundle, "--prepare", tmp_path / "request")
    assert sum(line.startswith("files  ") for line in done.out.splitlines()) == MAX_LINES + 1
    assert "and 5 more" in done.out
