"""`waybill trust` and `waybill sign` as several people use them: roots and lists, each finished by a quorum."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bundler.build import BuildRequest, build
from bundler.trust_documents import list_files, newest_list, own_chain, plan_list, plan_root, public_keys, read_trust
from content.bundle.head import open_head
from content.trust.head import verify_head
from manifests.trust.keys import read_capped
from manifests.trust.revocations import parse_revocations
from manifests.trust.root import Pin, parse_root
from manifests.words.errors import RefusedError
from tests.waybill import waybill
from tests.workshop import Workshop
from waybill import cli


@dataclass
class Vendor:
    """A vendor's folder and its keys, each in a folder of its owner."""

    path: Path

    def run(self, *args: object, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(cli, [str(one) for one in args] + ["--json"])
        assert done.exit_code == code, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def key(self, name: str) -> Path:
        path = self.path / "keys" / f"{name}.key"
        if not path.exists():
            self.run("keygen", path, "--no-passphrase")
        return path

    def trust(self, code: int = 0, after: str | None = None, **roles: Any) -> dict[str, Any]:
        """Write trust.yaml from keyword arguments and run `waybill trust` on it."""
        self.write(**roles)
        more = ("--after", self.path / after) if after else ()
        return self.run("trust", self.path / "trust.yaml", *more, code=code)

    def write(self, **roles: Any) -> None:
        """Write trust.yaml from keyword arguments."""
        rest: dict[str, Any] = {
            name: roles.pop(name) for name in ("leave", "revoked", "epoch", "vendor") if name in roles
        }
        named = {key for keys, _ in roles.values() for key in keys} | {one["key"] for one in rest.get("leave", ())}
        named |= set(rest.get("revoked", {}).get("keys", ()))
        for name in named:
            self.key(name)
        document: dict[str, Any] = {
            "waybill": 1,
            "vendor": "small-works",
            "epoch": 1,
            "keys": {name: {"public": f"keys/{name}.pub"} for name in sorted(named)},
            "roles": {
                name: {"keys": keys, "threshold": threshold} | ({"products": ["small"]} if name == "release" else {})
                for name, (keys, threshold) in roles.items()
            },
            **rest,
        }
        (self.path / "trust.yaml").write_text(json.dumps(document))

    def sign(self, name: str, *keys: str, code: int = 0) -> dict[str, Any]:
        options = [one for key in keys for one in ("--key", self.key(key))]
        return self.run("sign", self.path / "trust" / name, *options, code=code)


ROLES: dict[str, Any] = {
    "root": (["ann", "ben", "cat"], 2),
    "release": (["build-1", "build-2"], 1),
    "consignment": (["desk"], 1),
    "rollback": (["ann"], 1),
}


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    (tmp_path / "keys").mkdir()
    return Vendor(tmp_path)


@pytest.fixture
def begun(vendor: Vendor) -> Vendor:
    vendor.trust(**ROLES)
    vendor.sign("1.root.json", "ann", "ben")
    return vendor


def id_of(vendor: Vendor, name: str) -> str:
    from manifests.trust.keys import read_public

    return read_public(vendor.path / "keys" / f"{name}.pub").keyid


def test_a_version_is_finished_when_both_quorums_have_signed(begun: Vendor) -> None:
    leave = [{"key": "ann", "how": "revoked"}]
    wrote = begun.trust(**{**ROLES, "root": (["ben", "cat", "dan"], 2), "rollback": (["dan"], 1)}, leave=leave)
    assert wrote["joins"] == [["rollback", "dan"], ["root", "dan"]]
    assert wrote["leaves"] == [["rollback", "ann"], ["root", "ann"]]
    assert not wrote["finished"]
    assert set(wrote["missing"]) == {id_of(begun, name) for name in ("ben", "cat", "dan")}
    assert set(wrote["missing_before"]) == {id_of(begun, name) for name in ("ann", "ben", "cat")}
    said = begun.sign("2.root.json", "dan", "ben")
    assert said["missing"] == []
    assert set(said["missing_before"]) == {id_of(begun, "ann"), id_of(begun, "cat")}
    assert not said["finished"]
    with pytest.raises(Exception, match="1 of the 2 root keys that root 1 requires"):
        own_chain(begun.path)
    assert begun.trust(5, **ROLES)["error"]["finding"] == "root-unfinished"
    # Who leaves may still sign the version that ends them: it takes the quorum of the version before.
    assert begun.sign("2.root.json", "ann")["finished"]
    assert own_chain(begun.path).newest.version == 2


def proposed_signers(vendor: Vendor) -> list[str]:
    """The keys of the command that `waybill trust` prints for the file that it wrote."""
    done = waybill("trust", vendor.path / "trust.yaml")
    (command,) = (line for line in done.out.splitlines() if line.startswith("  waybill sign ") and "--key" in line)
    words = shlex.split(command)
    return [Path(words[i + 1]).stem for i, word in enumerate(words) if word == "--key"]


def test_the_next_command_names_as_many_keys_as_have_to_sign(vendor: Vendor) -> None:
    vendor.write(**ROLES)
    assert proposed_signers(vendor) == ["ann", "ben"]
    vendor.sign("1.root.json", "ann", "ben")
    # Keys of both roots come first: with one key of the version before, the next one would not be finished.
    leave = [{"key": "ann", "how": "revoked"}]
    roles = {**ROLES, "root": (["dan", "ben", "cat"], 2), "rollback": (["dan"], 1)}
    vendor.write(**roles, leave=leave)
    assert proposed_signers(vendor) == ["ben", "cat"]
    assert vendor.sign("2.root.json", "ben", "cat")["finished"]
    vendor.write(**roles, leave=leave, revoked={"releases": ["sha256:" + "b" * 64]})
    assert proposed_signers(vendor) == ["dan", "ben"]
    assert vendor.sign("1.revocations.json", "dan", "ben")["missing"] == []


def test_people_sign_on_machines_of_their_own(begun: Vendor, tmp_path: Path) -> None:
    begun.trust(**{**ROLES, "consignment": (["desk", "desk-2"], 1)})
    root = begun.path / "trust/2.root.json"
    for name in ("cat", "ann"):
        folder = tmp_path / f"to-{name}"
        assert begun.run("sign", root, "--prepare", folder)["files"] == ["root.pae"]
        begun.run("sign", folder, "--key", begun.key(name))
        done = begun.run("sign", root, "--attach", folder)
    assert done["finished"]
    assert len(parse_root(root.read_bytes(), "x").envelope.signatures) == 2


def test_a_key_that_goes_says_how(begun: Vendor) -> None:
    gone = {**ROLES, "release": (["build-2"], 1)}
    error = begun.trust(5, **gone)["error"]
    assert error["finding"] == "leaves-unsaid"
    assert "how: retired" in error["hint"]
    leave = [{"key": "build-1", "how": "retired", "last": {"epoch": 1, "sequence": 40}}]
    assert begun.trust(**gone, leave=leave)["leaves"] == [["release", "build-1"]]


def test_a_retired_root_key_needs_no_sequence(begun: Vendor) -> None:
    retired = [{"key": "cat", "how": "retired"}]
    roles = {**ROLES, "root": (["ann", "ben", "dan"], 2)}
    assert begun.trust(**roles, leave=retired)["leaves"] == [["root", "cat"]]
    signed = waybill("sign", begun.path / "trust/2.root.json", "--key", begun.key("ann"))
    cat = id_of(begun, "cat")[:12]
    assert f"leaves       root: cat ({cat}), retired\n" in signed.err
    begun.sign("2.root.json", "ben")
    # The next version keeps what this one wrote, and a key of the role release still has to say where it ends.
    assert begun.trust(5, **roles, leave=retired)["error"]["finding"] == "nothing-changed"
    error = begun.trust(
        5, **{**roles, "release": (["build-2"], 1)}, leave=[*retired, {"key": "build-1", "how": "retired"}]
    )["error"]
    assert (error["finding"], error["problem"]) == (
        "last-missing",
        "build-1 signs releases; a retired one needs `last`",
    )


@pytest.mark.parametrize(
    ("change", "finding"), [({"vendor": "other"}, "vendor-changes"), ({"epoch": 1}, "epoch-falls")]
)
def test_what_every_site_would_refuse_is_not_written(vendor: Vendor, change: dict[str, Any], finding: str) -> None:
    vendor.trust(**ROLES, epoch=2)
    vendor.sign("1.root.json", "ann", "ben")
    assert vendor.trust(5, **ROLES, **{"epoch": 2, **change})["error"]["finding"] == finding


def test_after_names_the_version_to_follow(begun: Vendor) -> None:
    more = {**ROLES, "consignment": (["desk", "desk-2"], 1)}
    begun.trust(**more)
    draft = begun.path / "trust/2.root.json"
    assert begun.trust(5, after="trust/1.root.json", **more)["error"]["finding"] == "exists"
    draft.unlink()
    kept = begun.path / "kept"
    (begun.path / "trust").rename(kept)
    assert begun.trust(after="kept/1.root.json", **more)["version"] == 2
    assert draft.exists()
    assert begun.trust(5, after="kept/7.root.json", **more)["error"]["finding"] == "root-gap"


def test_a_list_is_written_signed_and_packed(begun: Vendor) -> None:
    bad = "sha256:" + "b" * 64
    wrote = begun.trust(**ROLES, revoked={"releases": [bad], "keys": ["build-1"]})
    assert wrote["list_version"] == 1
    assert wrote["revokes"] == [["key", id_of(begun, "build-1")], ["release", bad]]
    assert "version" not in wrote, "the root stays as it is"
    chain = own_chain(begun.path)
    with pytest.raises(RefusedError, match="is not finished under root 1"):
        newest_list(begun.path, chain)
    error = begun.sign("1.revocations.json", "build-2", code=5)["error"]
    assert error["finding"] == "signature-role"
    assert begun.sign("1.revocations.json", "cat")["missing"]
    assert begun.trust(5, **ROLES, revoked={"releases": [bad, "sha256:" + "c" * 64], "keys": ["build-1"]})["error"][
        "finding"
    ] == ("revocations-unfinished")
    folder = begun.path / "to-ben"
    begun.run("sign", list_files(begun.path)[0], "--prepare", folder)
    begun.run("sign", folder, "--key", begun.key("ben"))
    assert begun.run("sign", list_files(begun.path)[0], "--attach", folder)["missing"] == []
    data = newest_list(begun.path, chain)
    assert data is not None
    assert parse_revocations(data, "x")[1].releases == (bad,)


def test_a_list_only_grows_and_cannot_end_a_root_key(begun: Vendor) -> None:
    bad = "sha256:" + "b" * 64
    begun.trust(**ROLES, revoked={"releases": [bad]})
    begun.sign("1.revocations.json", "ann", "ben")
    assert begun.trust(5, **ROLES, revoked={"releases": []})["error"]["finding"] == "revoked-no-more"
    assert begun.trust(5, **ROLES, revoked={"releases": [bad]})["error"]["finding"] == "nothing-changed"
    trust, file = read_trust(begun.path / "trust.yaml")
    keys = public_keys(trust, file, begun.path)
    assert plan_list(trust, keys, read_capped(list_files(begun.path)[0], 1 << 20)) is None
    error = begun.trust(5, **ROLES, revoked={"releases": [bad], "keys": ["cat"]})["error"]
    assert error["finding"] == "root-key-revoked"
    wrote = begun.trust(**ROLES, revoked={"releases": [bad, "sha256:" + "c" * 64]})
    assert wrote["list_version"] == 2


def test_new_root_keys_must_sign_the_list_anew(begun: Vendor) -> None:
    bad = {"releases": ["sha256:" + "b" * 64]}
    begun.trust(**ROLES, revoked=bad)
    begun.sign("1.revocations.json", "ann", "ben")
    begun.trust(**{**ROLES, "root": (["cat", "dan"], 2)}, revoked=bad, leave=[{"key": "ben", "how": "revoked"}])
    begun.sign("2.root.json", "ann", "cat", "dan")
    with pytest.raises(RefusedError, match="not finished under root 2"):
        newest_list(begun.path, own_chain(begun.path))
    begun.sign("1.revocations.json", "cat", "dan")
    assert newest_list(begun.path, own_chain(begun.path)) is not None


def test_build_packs_the_newest_list_and_does_not_sign_with_a_revoked_key(tmp_path: Path) -> None:
    from manifests.trust.envelope_writer import encode_revocations, seal
    from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
    from tests.vendor import RELEASE, ROOT, SECOND

    def listing(**named: tuple[str, ...]) -> bytes:
        found = Revocations(vendor="small-works", version=1, **named)
        return seal(encode_revocations(found), REVOCATIONS_TYPE, (ROOT,))

    shop = Workshop(tmp_path)
    chain = own_chain(shop.path)
    from contextlib import nullcontext

    from manifests.words.progress import Progress

    def built(revocations: bytes, signer: Any, out: str) -> Any:
        request = BuildRequest(
            release_yaml=shop.save(), out=tmp_path / out, chain=chain, signers=(signer,), revocations=revocations
        )
        return build(request, lambda _a, _b: nullcontext(Progress()))

    good = built(listing(releases=("sha256:" + "b" * 64,)), RELEASE, "a")
    head = verify_head(open_head(good.path), shop.pin())
    assert head.revocations is not None
    assert head.head.revocations == listing(releases=("sha256:" + "b" * 64,))
    with pytest.raises(RefusedError) as caught:
        built(listing(keys=(RELEASE.public.keyid,)), RELEASE, "b")
    assert caught.value.finding == "signature-revoked"
    assert built(listing(keys=(RELEASE.public.keyid,)), SECOND, "c").missing == 0


def test_a_first_version_says_everybody_who_joins(vendor: Vendor) -> None:
    wrote = vendor.trust(**ROLES)
    assert ["release", "build-2"] in wrote["joins"]
    assert wrote["leaves"] == []
    trust, file = read_trust(vendor.path / "trust.yaml")
    planned = plan_root(trust, public_keys(trust, file, vendor.path), None)
    assert Pin(version=1, digest=wrote["fingerprint"]).digest == wrote["fingerprint"]
    assert planned.root.version == 1
