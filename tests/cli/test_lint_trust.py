"""`waybill lint` and `waybill build` refuse the same files of trust in the same way, without waiting for a writer."""

import os
from pathlib import Path

import pytest

from tests.waybill import waybill

ROOT = "trust/1.root.json"


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    assert waybill("init", "vendor", cwd=tmp_path).code == 0
    return tmp_path / "vendor"


@pytest.mark.parametrize("name", ["release.yaml", "trust.yaml", ROOT])
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
@pytest.mark.parametrize("options", [(), ("--unsigned",)])
def test_a_pipe_or_device_is_refused_with_one_exit_code(
    vendor: Path, name: str, kind: str, options: tuple[str, ...]
) -> None:
    path = vendor / name
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for target in ("release.yaml", "trust.yaml"):
        linted = waybill("lint", target, cwd=vendor)
        if name != "release.yaml" or target == name:
            assert linted.code == 3, linted
            assert linted.out.splitlines()[0] == f"{name}: {kind}, not a file"
    built = waybill("build", "release.yaml", "-o", "out", *options, cwd=vendor)
    assert built.code == 3, built
    assert built.err.splitlines() == [
        f"error: {name}: {kind}, not a file",
        "hint: copy its content to a file and name that",
    ]
    assert not (vendor / "out").exists()


@pytest.mark.parametrize("target", ["release.yaml", "trust.yaml"])
def test_a_root_document_that_was_cut_off_is_reported(vendor: Path, target: str) -> None:
    (vendor / ROOT).write_bytes((vendor / ROOT).read_bytes()[:100])
    linted = waybill("lint", target, cwd=vendor)
    built = waybill("build", "release.yaml", "-o", "out", cwd=vendor)
    assert (linted.code, built.code) == (3, 3)
    assert built.err.splitlines()[0].endswith(linted.out.splitlines()[0].removeprefix(ROOT))


def test_what_waybill_made_is_named_and_judged_as_that(vendor: Path) -> None:
    assert waybill("lint", ROOT, cwd=vendor).out.splitlines() == [f"{ROOT}: good (trust root)"]
    good = (vendor / ROOT).read_bytes()
    (vendor / ROOT).write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    assert waybill("lint", ROOT, cwd=vendor).code == 3


@pytest.mark.parametrize(
    "text", ['{"payload":"e30=","payloadType":"application/vnd.waybill.consignment.v1+json"}', '{"dsseEnvelope":{}}']
)
def test_another_document_that_waybill_made_is_not_called_a_schema(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    linted = waybill("lint", "a.json", cwd=tmp_path)
    assert linted.code == 3
    assert "this document was made by Waybill" in linted.out
    assert "waybill show a.json" in linted.out
