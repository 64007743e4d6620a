"""`sign` of a release that lies apart from trust.yaml names its keys: who signed, who is missing, the next command."""

import re
from pathlib import Path

import pytest

from content.signing.files import write_key
from manifests.trust.private_keys import generate_key
from tests.waybill import Done, waybill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A vendor with three release keys of which two must sign, and an unsigned bundle in a folder of its own."""
    assert waybill("init", "vendor", "--product", "pump", cwd=tmp_path).code == 0
    for number in (2, 3):
        write_key(tmp_path / "vendor" / "keys" / f"release-{number}.key", generate_key(), None)
    trust = (tmp_path / "vendor" / "trust.yaml").read_text()
    keys = "".join(
        f'  release-{n}: {{public: keys/release-{n}.pub, use: "file:keys/release-{n}.key"}}\n' for n in (2, 3)
    )
    trust = trust.replace("  consignment-1:", f"{keys}  consignment-1:", 1)
    trust = trust.replace(
        "release: {keys: [release-1], threshold: 1", "release: {keys: [release-1, release-2, release-3], threshold: 2"
    )
    (tmp_path / "vendor" / "trust.yaml").write_text(trust)
    for command in (
        ("trust", "vendor/trust.yaml"),
        ("sign", "vendor/trust/2.root.json", "--key", "vendor/keys/root-1.key"),
        ("build", "vendor/release.yaml", "--unsigned", "-o", "medium"),
    ):
        done = waybill(*command, cwd=tmp_path)
        assert done.code == 0, done
    return tmp_path


def _names(done: Done, line: str) -> list[str]:
    """The names of keys in the lines that begin with ``line``."""
    lines = [text for text in done.out.splitlines() if text.startswith(line)]
    return re.findall(r"(release-[0-9]) \([0-9a-f]{12}\)", " ".join(lines))


def test_after_a_signature_the_missing_keys_are_named(folder: Path) -> None:
    done = waybill("sign", "medium/pump-0.1.0.tar", "--key", "vendor/keys/release-1.key", cwd=folder)
    assert done.code == 0, done
    assert _names(done, "signed by") == ["release-1"]
    assert sorted(_names(done, "missing")) == ["release-2", "release-3"]
    (command,) = [line for line in done.out.splitlines() if line.startswith("  waybill sign") and "--key" in line]
    assert re.fullmatch(r"  waybill sign medium/pump-0\.1\.0\.tar --key \S*/vendor/keys/release-[23]\.key", command)
    done = waybill(*command.split()[1:], cwd=folder)
    assert len(_names(done, "signed by")) == 2
    assert "missing" not in done.out


@pytest.mark.parametrize("where", [".", "vendor", "elsewhere"])
def test_a_request_and_what_comes_back(folder: Path, where: str) -> None:
    (folder / "elsewhere").mkdir()
    named = ("--trust", "../vendor/trust.yaml") if where == "elsewhere" else ()
    bundle = str(folder / "medium" / "pump-0.1.0.tar")
    named = named or (("--trust", "vendor/trust.yaml") if where == "." else ())
    done = waybill("sign", bundle, "--prepare", "request", *named, cwd=folder / where)
    assert done.code == 0, done
    key = str(folder / "vendor" / "keys" / "release-2.key")
    done = waybill("sign", "request", "--key", key, cwd=folder / where)
    assert done.code == 0, done
    assert _names(done, "by") == ["release-2"]
    assert sorted(_names(done, "missing")) == ["release-1", "release-3"]
    done = waybill("sign", bundle, "--attach", "request", cwd=folder / where)
    assert done.code == 0, done
    assert _names(done, "signed by") == ["release-2"]
    assert sorted(_names(done, "missing")) == ["release-1", "release-3"]


def test_the_named_file_is_called_trust_yaml(folder: Path) -> None:
    done = waybill("sign", "medium/pump-0.1.0.tar", "--prepare", "r", "--trust", "vendor/release.yaml", cwd=folder)
    assert done.code == 2
    assert "expected a file called trust.yaml" in done.err
