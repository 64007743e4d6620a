"""keygen, init, trust and sign, as a vendor types them."""

import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from manifests.trust.private_keys import encode_private
from tests.vendor import RELEASE, SECOND, Vendor
from tests.waybill import waybill


def test_keygen_encrypts_and_keeps_the_key_private(tmp_path: Path) -> None:
    os.umask(0)
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    done = waybill("keygen", tmp_path / "a.key", WAYBILL_PASSPHRASE_FILE=str(secret))
    os.umask(0o022)
    assert done.code == 0
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "a.key").read_text()
    assert "BEGIN PUBLIC KEY" in (tmp_path / "a.pub").read_text()


def test_keygen_takes_the_passphrase_from_a_descriptor(tmp_path: Path) -> None:
    done = waybill("keygen", tmp_path / "a.key", "--passphrase-fd", "0", stdin=b"correct horse\n")
    assert done.code == 0
    done = waybill("keygen", tmp_path / "b.key", "--passphrase-fd", "0", stdin=b"\n")
    assert done.code == 5
    assert not (tmp_path / "b.key").exists()
    done = waybill("keygen", tmp_path / "b.key", "--passphrase-fd", "99")
    assert done.code == 2
    assert "descriptor 99 is not open" in done.err


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    done = waybill("keygen", tmp_path / "a.key")
    assert done.code == 2
    assert "--passphrase-fd" in done.err
    assert not list(tmp_path.iterdir())


def test_keygen_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("mine")
    done = waybill("keygen", tmp_path / "a.key", "--no-passphrase", "--json")
    assert done.code == 5
    assert done.json["error"]["finding"] == "exists"
    assert (tmp_path / "a.pub").read_text() == "mine"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert waybill("init", tmp_path / "small").code == 0
    return tmp_path / "small"


def test_init_leaves_a_folder_that_can_be_used_at_once(folder: Path) -> None:
    assert waybill("lint", folder / "release.yaml").code == 0
    done = waybill("show", folder / "trust/1.root.json", "--json")
    assert done.json["document"]["practice"] is True
    pem = waybill("show", folder / "trust/1.root.json", "--pem", "release")
    assert pem.out == (folder / "keys/release-1.pub").read_text()


def test_init_refuses_a_folder_that_is_not_empty(folder: Path) -> None:
    done = waybill("init", folder)
    assert done.code == 5


def test_trust_says_who_joins_and_leaves(folder: Path) -> None:
    assert waybill("keygen", folder / "keys/release-2.key", "--no-passphrase").code == 0
    path = folder / "trust.yaml"
    text = path.read_text()
    new = '  release-2: {public: keys/release-2.pub, use: "file:keys/release-2.key"}\n'
    text = text.replace("roles:\n", new + "\nroles:\n").replace(
        "release: {keys: [release-1]", "release: {keys: [release-2]"
    )
    path.write_text(text.replace("leave: []", "leave: [{key: release-1, how: retired, last: {epoch: 1, sequence: 1}}]"))
    done = waybill("trust", path, "--json")
    assert done.code == 0
    assert done.json["joins"] == [["release", "release-2"]]
    assert done.json["leaves"] == [["release", "release-1"]]
    assert done.json["missing"]
    # A version that its root keys have not signed is never built upon.
    assert waybill("trust", path).code == 5
    assert waybill("sign", folder / "trust/2.root.json", "--key", folder / "keys/release-1.key").code == 5
    done = waybill("sign", folder / "trust/2.root.json", "--key", folder / "keys/root-1.key", "--json")
    assert done.code == 0
    assert done.json["missing"] == []
    assert waybill("trust", path).code == 5  # nothing changed


def test_a_second_signature_rewrites_the_head_alone(tmp_path: Path) -> None:
    vendor = Vendor(signers=(RELEASE,))
    both = Vendor(signers=(RELEASE, SECOND))
    bundle = vendor.write(tmp_path / "small.tar")
    from content.signing.files import write_key

    write_key(tmp_path / "second.key", SECOND, None)
    before = bundle.read_bytes()
    done = waybill("sign", bundle, "--key", tmp_path / "second.key", "--json")
    assert done.code == 0
    assert len(done.json["signed_by"]) == 2
    after = bundle.read_bytes()
    bulk_at = vendor.head().bulk_at
    assert after != before
    assert after[bulk_at:] == before[bulk_at:]
    # Signed by one and then the other is what both at once would have been.
    assert after == both.bundle()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second.key", "second.pub", "small.tar"]


def test_a_stranger_may_not_sign(tmp_path: Path) -> None:
    bundle = Vendor().write(tmp_path / "small.tar")
    assert waybill("keygen", tmp_path / "s.key", "--no-passphrase").code == 0
    before = bundle.read_bytes()
    done = waybill("sign", bundle, "--key", tmp_path / "s.key", "--json")
    assert done.code == 5
    assert done.json["error"]["finding"] == "signature-unknown"
    assert bundle.read_bytes() == before


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    bundle = Vendor().write(tmp_path / "small.tar")
    assert waybill("keygen", tmp_path / "s.key", "--no-passphrase").code == 0
    (tmp_path / "s.key").chmod(0o640)
    done = waybill("sign", bundle, "--key", tmp_path / "s.key")
    assert done.code == 5
    assert "chmod 600" in done.err


def test_a_wrong_passphrase_says_so(tmp_path: Path) -> None:
    bundle = Vendor().write(tmp_path / "small.tar")
    assert waybill("keygen", tmp_path / "s.key", "--passphrase-fd", "0", stdin=b"right\n").code == 0
    done = waybill("sign", bundle, "--key", tmp_path / "s.key", "--passphrase-fd", "0", "--json", stdin=b"wrong\n")
    assert done.code == 5
    assert done.json["error"]["finding"] == "passphrase-wrong"
    assert "right" not in done.out + done.err


@pytest.mark.parametrize("how", [(), ("--verbose",), ("--json",)])
def test_no_secret_is_ever_printed(tmp_path: Path, how: tuple[str, ...]) -> None:
    """Neither a passphrase, the right one or not, nor a line of a key file; whatever goes wrong."""
    from content.signing.files import write_key

    bundle = Vendor(signers=(RELEASE,)).write(tmp_path / "small.tar")
    key, cut, document = tmp_path / "second.key", tmp_path / "cut.key", tmp_path / "document.json"
    write_key(key, SECOND, b"right-horse")
    cut.touch(mode=0o600)
    cut.write_bytes(key.read_bytes()[:-60])
    document.write_bytes(key.read_bytes())
    secrets = {"right-horse", "wrong-horse", *(line for line in key.read_text().splitlines() if "---" not in line)}
    sign = ("sign", bundle, "--passphrase-fd", "0", *how)
    runs = [
        (waybill(*sign, "--key", key, stdin=b"wrong-horse\n"), 5),
        (waybill(*sign, "--key", cut, stdin=b"right-horse\n"), 5),
        (waybill(*sign, "--key", f"exec:{key}?public={key.with_suffix('.pub')}", stdin=b"right-horse\n"), 6),
        (waybill("show", key, *how), 3),
        (waybill("verify", bundle, "--root", document, *how), 3),
        (waybill("keygen", key, "--passphrase-fd", "0", *how, stdin=b"right-horse\n"), 5),
        (waybill("keygen", tmp_path / "new.key", "--passphrase-fd", "0", *how, stdin=b"right-horse\n"), 0),
        (waybill(*sign, "--key", key, stdin=b"right-horse\n"), 0),
    ]
    assert [done.code for done, _ in runs] == [code for _, code in runs]
    secrets |= {line for line in (tmp_path / "new.key").read_text().splitlines() if "---" not in line}
    assert len(secrets) > 6
    for done, _ in runs:
        assert not [one for one in secrets if one in done.out + done.err]


@pytest.fixture
def three_officers(folder: Path) -> Path:
    """A vendor whose next root needs two of three officers; nobody has signed it yet."""
    for name in ("root-2", "root-3"):
        assert waybill("keygen", f"keys/{name}.key", "--no-passphrase", cwd=folder).code == 0
    path = folder / "trust.yaml"
    listed = "".join(
        f'  {name}: {{public: keys/{name}.pub, use: "file:keys/{name}.key"}}\n' for name in ("root-2", "root-3")
    )
    text = path.read_text().replace("\nroles:", f"{listed}\nroles:")
    text = text.replace("root: {keys: [root-1], threshold: 1}", "root: {keys: [root-1, root-2, root-3], threshold: 2}")
    path.write_text(text)
    assert waybill("trust", "trust.yaml", cwd=folder).code == 0
    return folder


def test_a_folder_says_after_its_signature_who_is_missing_by_name(three_officers: Path) -> None:
    folder = three_officers
    sign = ("sign", "trust/2.root.json")
    assert waybill(*sign, "--prepare", "for root-2", cwd=folder).code == 0
    # On the machine of an officer, where nothing but the folder and the key is.
    away = folder.parent / "away"
    away.mkdir()
    (folder / "for root-2").rename(away / "request")
    done = waybill("sign", "request", "--key", folder / "keys/root-2.key", cwd=away)
    assert done.code == 0, done
    missing = [line for line in done.out.splitlines() if line.startswith("missing ")]
    assert len(missing) == 2
    assert missing[0].startswith("missing      1 more of the root keys of version 2: ")
    assert "root-1 (" in missing[0]
    assert "root-3 (" in missing[0]
    assert "root-2" not in missing[0]
    assert missing[1].startswith("missing      1 more of the root keys of version 1: ")
    assert re.search(r": root-1 \([0-9a-f]{12}\), as it was when the folder was prepared$", missing[1])
    assert done.out.endswith(
        "\n\nnext: carry the folder back to where it was prepared, then, there:\n"
        "  waybill sign trust/2.root.json --attach 'for root-2'\n"
    )
    # There the command is typed as it was printed, and goes on with who is missing now.
    (away / "request").rename(folder / "for root-2")
    done = waybill(*sign, "--attach", "for root-2", cwd=folder)
    assert done.code == 0, done
    assert "missing      1 more of " in done.out
    assert f"waybill sign trust/2.root.json --key {folder}/keys/root-1.key" in done.out
    assert waybill(*sign, "--prepare", "for root-1", cwd=folder).code == 0
    done = waybill("sign", "for root-1", "--key", "keys/root-1.key", "--json", cwd=folder)
    assert done.json["missing"] == []
    shown = waybill("show", "for root-1", cwd=folder).out
    assert shown.count("signers.json: who has to sign") == 1
    assert re.search(r"^signed by    root-2 \([0-9a-f]{12}\), as it was when", shown, re.MULTILINE)
    assert re.search(r"^missing      1 more of the root keys of version 1: root-1 ", shown, re.MULTILINE)


def test_the_signature_of_a_key_that_leaves_is_named(folder: Path) -> None:
    assert waybill("keygen", "keys/root-2.key", "--no-passphrase", cwd=folder).code == 0
    path = folder / "trust.yaml"
    listed = '  root-2: {public: keys/root-2.pub, use: "file:keys/root-2.key"}\n'
    text = path.read_text().replace("\nroles:", f"{listed}\nroles:")
    text = text.replace("root: {keys: [root-1], threshold: 1}", "root: {keys: [root-2], threshold: 1}")
    path.write_text(text.replace("leave: []", "leave: [{key: root-1, how: retired}]"))
    assert waybill("trust", "trust.yaml", cwd=folder).code == 0
    done = waybill("sign", "trust/2.root.json", "--key", "keys/root-1.key", cwd=folder)
    assert re.search(r"^signed by    root-1 \([0-9a-f]{12}\), a root key of version 1$", done.out, re.MULTILINE), done
    assert "missing      1 more of root-2 (" in done.out


def test_a_root_and_its_folder_show_keys_by_name(three_officers: Path) -> None:
    folder = three_officers
    shown = waybill("show", "trust/2.root.json", cwd=folder).out
    assert re.search(r"role       release: 1 of release-1 \([0-9a-f]{12}\)", shown)
    prepared = waybill("sign", "trust/2.root.json", "--prepare", "request", cwd=folder)
    # The command that it prints refuses another document than the one that was shown here.
    command = next(line for line in prepared.out.splitlines() if "--fingerprint" in line)
    away = folder.parent / "elsewhere"
    away.mkdir()
    (folder / "request").rename(away / "request")
    shown = waybill("show", "request", cwd=away).out
    since = "as it was when the folder was prepared"
    assert f"signed by    nobody, {since}\n" in shown
    assert "missing      2 more of the root keys of version 2: " in shown
    assert re.search(
        rf"^missing      1 more of the root keys of version 1: root-1 \([0-9a-f]{{12}}\), {since}$", shown, re.M
    )
    assert re.search(r"role         release: 1 of release-1 \([0-9a-f]{12}\)", shown)
    words = [str(folder / "keys/root-2.key") if word == "KEY" else word for word in shlex.split(command)]
    assert waybill(*words[1:], cwd=away).code == 0
    assert re.search(r"root.pae.sig: .* by key root-2 \([0-9a-f]{12}\)", waybill("show", "request", cwd=away).out)
    signed = waybill("sign", "trust/2.root.json", "--key", "keys/root-1.key", cwd=folder).out
    assert re.search(r"signed by    root-1 \([0-9a-f]{12}\)\n", signed)
    assert re.search(r"signed by  root-1 \([0-9a-f]{12}\)\n", waybill("show", "trust/2.root.json", cwd=folder).out)


def test_trust_names_each_key_whose_place_it_does_not_know(three_officers: Path) -> None:
    folder = three_officers
    (folder / "trust" / "2.root.json").unlink()
    path = folder / "trust.yaml"
    path.write_text(path.read_text().replace(', use: "file:keys/root-2.key"', ""))
    # The private key lies beside the public one.
    assert f"--key {folder}/keys/root-2.key\n" in waybill("trust", "trust.yaml", cwd=folder).out
    (folder / "trust" / "2.root.json").unlink()
    (folder / "keys" / "root-2.key").unlink()
    shown = waybill("trust", "trust.yaml", cwd=folder).out
    keys = f"--key {folder}/keys/root-1.key --key KEY-OF-root-2"
    sign = f"waybill sign {folder}/trust/2.root.json"
    assert f"next:\n  {sign} {keys}\nor, for a key on another machine:\n  {sign} --prepare DIR\n" in shown


def test_a_folder_is_not_signed_by_a_key_that_attach_would_refuse(three_officers: Path) -> None:
    folder = three_officers
    assert waybill("sign", "trust/2.root.json", "--prepare", "request", cwd=folder).code == 0
    done = waybill("sign", "request", "--key", "keys/release-1.key", cwd=folder)
    assert done.code == 5
    assert "is none of the root keys of version 2 or root keys of version 1" in done.err
    assert "root-2 (" in done.err
    assert not list((folder / "request").glob("*.sig"))


def test_an_answer_that_does_not_count_is_replaced_and_one_that_counts_is_kept(three_officers: Path) -> None:
    folder = three_officers
    assert waybill("sign", "trust/2.root.json", "--prepare", "request", cwd=folder).code == 0
    listed = (folder / "request" / "signers.json").read_bytes()
    (folder / "request" / "signers.json").unlink()
    assert waybill("sign", "request", "--key", "keys/release-1.key", cwd=folder).code == 0
    # Who may sign is not known, so nothing is replaced.
    assert waybill("sign", "request", "--key", "keys/root-2.key", cwd=folder).code == 5
    (folder / "request" / "signers.json").write_bytes(listed)
    assert waybill("sign", "request", "--key", "keys/root-2.key", cwd=folder).code == 0
    (answer,) = (folder / "request").glob("*.sig")
    counts = answer.read_bytes()
    done = waybill("sign", "request", "--key", "keys/root-1.key", cwd=folder)
    assert done.code == 5
    assert "exists already" in done.err
    assert answer.read_bytes() == counts
    assert waybill("sign", "trust/2.root.json", "--attach", "request", cwd=folder).code == 0


def test_a_folder_whose_list_of_signers_was_lost_or_changed_is_signed_all_the_same(three_officers: Path) -> None:
    folder = three_officers
    for name, content in (("a", None), ("b", b"{}"), ("c", b'{"file":"\\u001b[2J","folder":"x","roles":[]}')):
        assert waybill("sign", "trust/2.root.json", "--prepare", name, cwd=folder).code == 0
        (folder / name / "signers.json").unlink()
        if content is not None:
            (folder / name / "signers.json").write_bytes(content)
        done = waybill("sign", name, "--key", "keys/root-2.key", cwd=folder)
        assert done.code == 0, done
        assert f"waybill sign FILE --attach {name}" in done.out
        assert "missing" not in done.out


def test_the_signers_of_a_release_are_named_too(tmp_path: Path) -> None:
    Vendor(threshold=2, signers=(RELEASE,)).write(tmp_path / "small.tar")
    (tmp_path / "second.key").write_bytes(encode_private(SECOND, None))
    (tmp_path / "second.key").chmod(0o600)
    assert waybill("sign", "small.tar", "--prepare", "request", cwd=tmp_path).code == 0
    done = waybill("sign", "request", "--key", "second.key", cwd=tmp_path)
    assert "missing      nobody else, as it was when the folder was prepared" in done.out
    assert "  waybill sign small.tar --attach request" in done.out
