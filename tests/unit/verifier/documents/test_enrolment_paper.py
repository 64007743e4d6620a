"""The paper of a first enrolment: what it says, what it tells to type, and which root it refuses."""

import html
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from content.signing.files import write_key
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.root import ROOT_TYPE, Root
from manifests.words.fingerprint import as_groups, as_words, parse_fingerprint
from tests.vendor import RELEASE, ROOT, STRANGER, Vendor
from tests.waybill import waybill
from verifier.site.disk import Disk
from verifier.site.folder import open_site
from verifier.site.host import this_host

FINGERPRINT = Vendor().pin().digest


def write_paper(folder: Path, root: bytes, *options: object) -> str:
    """Write the paper of a root document; its text, without markup."""
    (folder / "1.root.json").write_bytes(root)
    (folder / "paper.html").unlink(missing_ok=True)
    done = waybill("show", folder / "1.root.json", "--page", folder / "paper.html", *options)
    assert (done.code, done.out.strip()) == (0, f"written: {folder / 'paper.html'}"), done
    return words_of((folder / "paper.html").read_text())


def words_of(page: str) -> str:
    body = page.split("<main>")[1]
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


def commands_of(page: str) -> str:
    """The lines of a page that a person types."""
    return "\n".join(html.unescape(line) for line in re.findall(r'<p class="command">(.*?)</p>', page))


def kit(folder: Path) -> Path:
    path = folder / "waybill.pyz"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("kit.json", "{}")
    return path


def test_it_names_vendor_product_root_and_both_forms_of_the_fingerprint(tmp_path: Path) -> None:
    paper = " ".join(write_paper(tmp_path, Vendor().root_file()).split())
    assert "vendor small-works product small root version 1, epoch 1 lowest sequence any" in paper
    words, groups = as_words(FINGERPRINT).split(), as_groups(FINGERPRINT).split()
    for parts, numbers in ((words, (1, 7, 13, 19)), (groups, (1, 5, 9, 13))):
        size = len(parts) // 4
        for number in numbers:
            row = " ".join(parts[number - 1 : number - 1 + size])
            assert f"{number} to {number + size - 1} {row}" in paper
    assert f"as a digest {FINGERPRINT}" in paper
    # Both sides sign by hand.
    assert paper.count("name date signature") == 2
    assert "practice" not in paper


def test_the_digest_of_the_kit_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = kit(tmp_path)
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    paper = " ".join(write_paper(tmp_path, Vendor().root_file(), "--kit", path).split())
    assert f"must print {printed[:32]} without a space {printed[32:]}" in paper
    # Without a kit there is a line to write it on.
    write_paper(tmp_path, Vendor().root_file())
    assert "<dt>must print</dt><dd></dd>" in (tmp_path / "paper.html").read_text()


def test_what_it_tells_to_type_makes_a_site_that_trusts_this_root(tmp_path: Path) -> None:
    vendor = Vendor(practice=True, sequence=7)
    write_paper(tmp_path, vendor.root_file(), "--minimum-sequence", 7)
    (tmp_path / "medium").mkdir()
    vendor.write(tmp_path / "medium" / "small-1.0.0.tar")
    write_key(tmp_path / "ops-1.key", STRANGER, None)
    typed = commands_of((tmp_path / "paper.html").read_text()).partition("\n")[2]
    for capitals, value in (
        ("python3 MEDIUM/waybill.pyz", f"{sys.executable} -m waybill"),
        ("MEDIUM", "medium"),
        ("CUSTOMER", "northern-grid"),
        ("ENVIRONMENT", "production"),
        ("NAME", "east"),
        ("ROLE:PERSON=FILE", "security:sec-1=ops-1.pub"),
    ):
        assert typed.count(capitals) == 1
        typed = typed.replace(capitals, value)
    done = subprocess.run(["bash", "-euc", typed], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, typed + done.stdout + done.stderr
    state = open_site(tmp_path / "east", Disk(), this_host()).state
    assert state.trust.root.digest == parse_fingerprint(as_words(vendor.pin().digest))
    assert (state.site, state.trust.practice) == ("northern-grid/small/production/east", True)
    assert state.trust.minimum is not None
    assert state.trust.minimum[1].sequence == 7


def test_a_practice_root_and_several_products_are_named(tmp_path: Path) -> None:
    root = Vendor(practice=True).root()
    release = msgspec.structs.replace(root.roles["release"], products=("large", "small"))
    root = msgspec.structs.replace(root, roles={**root.roles, "release": release})
    paper = " ".join(write_paper(tmp_path, seal(encode_root(root), ROOT_TYPE, (ROOT,))).split())
    assert "practice The root is a practice root, for testing only." in paper
    assert "--product PRODUCT \\" in paper
    assert "PRODUCT one of large, small" in paper


def two_of_two() -> Root:
    root = Vendor().root()
    keyids = tuple(sorted((ROOT.public.keyid, RELEASE.public.keyid)))
    return msgspec.structs.replace(
        root, roles={**root.roles, "root": msgspec.structs.replace(root.roles["root"], keys=keyids, threshold=2)}
    )


def test_a_root_that_its_quorum_has_not_signed_gets_no_paper(tmp_path: Path) -> None:
    path = tmp_path / "1.root.json"
    document = encode_root(two_of_two())
    path.write_bytes(seal(document, ROOT_TYPE, (ROOT,)))
    done = waybill("show", path, "--page", tmp_path / "paper.html", "--json")
    assert (done.code, done.json["error"]["finding"]) == (4, "root-signatures-missing")
    assert "signed by 1 of the 2 root keys that root 1 requires" in done.json["error"]["problem"]
    assert not (tmp_path / "paper.html").exists()
    write_paper(tmp_path, seal(document, ROOT_TYPE, (ROOT, RELEASE)))
    # A signature that does not hold counts for nothing, although its key is one of the root's.
    signed = seal(document, ROOT_TYPE, (ROOT, RELEASE)).decode()
    first, second = re.findall(r'"sig":"([^"]+)"', signed)
    path.write_text(signed.replace(second, first))
    done = waybill("show", path, "--page", tmp_path / "other.html", "--json")
    assert (done.code, done.json["error"]["finding"]) == (4, "signature-wrong"), done


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--kit", "waybill.pyz"), 2, "--kit and --minimum-sequence are for a paper"),
        (("--minimum-sequence", "3"), 2, "--kit and --minimum-sequence are for a paper"),
        (("--pem", "release", "--page", "paper.html"), 2, "--pem prints keys, --page writes a paper"),
        (("--page", "paper.html", "--kit", "1.root.json"), 3, "this is no kit"),
        (("--page", "1.root.json"), 5, "file exists already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_make_no_paper(
    options: tuple[str, ...], code: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("1.root.json").write_bytes(Vendor().root_file())
    done = waybill("show", "1.root.json", *options, "--json")
    assert (done.code, done.json["error"]["problem"]) == (code, expected)
    assert not Path("paper.html").exists()


def test_a_bundle_has_no_paper(tmp_path: Path) -> None:
    """The paper is for the document that the vendor holds; a bundle on a medium proves nothing."""
    bundle = Vendor().write(tmp_path / "small.tar")
    done = waybill("show", bundle, "--page", tmp_path / "paper.html", "--json")
    assert (done.code, done.json["error"]["problem"]) == (2, "--page is for root documents")
