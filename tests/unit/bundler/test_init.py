"""`waybill init`: the folder is whole, its documents are what the compilers accept, and nothing is overwritten."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bundler.init import init_folder, suggest_product
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import Handwritten, Plain, parse_handwritten, read_handwritten
from manifests.authored.rollback_yaml import compile_rollback
from manifests.words.errors import HostError, RefusedError, UsageError

EXPECTED = {
    ".gitignore",
    "NOTES.md",
    "config.schema.json",
    "contract.yaml",
    "policy.example.yaml",
    "release.yaml",
    "rollback.yaml",
    "sbom/service.cdx.json",
    "service/serve.py",
    "site.example.yaml",
    "trust.yaml",
}


def make(target: Path) -> Path:
    init_folder(target, product="teapot", vendor="teapot-works", issued_at="2026-11-20T09:00:00Z")
    return target


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path, name: str) -> dict[str, Plain]:
    plain = read_handwritten(folder / name).plain
    assert isinstance(plain, dict)
    return plain


def test_writes_every_file_and_nothing_beside(tmp_path: Path) -> None:
    written = init_folder(tmp_path / "teapot", product="teapot", vendor="teapot-works")
    assert tree(tmp_path / "teapot") == EXPECTED
    assert {path.relative_to(tmp_path / "teapot").as_posix() for path in written} == EXPECTED
    assert list(written) == sorted(written)
    assert [path.name for path in tmp_path.iterdir()] == ["teapot"]


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    for path in make(tmp_path / "teapot").rglob("*"):
        if path.is_file():
            assert "{{" not in path.read_text(), path.name


def test_names_are_filled_in(tmp_path: Path) -> None:
    folder = make(tmp_path / "elsewhere")
    release, trust = read(folder, "release.yaml"), read(folder, "trust.yaml")
    assert (release["product"], release["issued_at"]) == ("teapot", "2026-11-20T09:00:00Z")
    assert (trust["vendor"], trust["practice"]) == ("teapot-works", True)
    assert trust["roles"]["release"]["products"] == ["teapot"]  # type: ignore[index, call-overload]  # plain YAML


def test_without_a_date_the_line_is_a_comment(tmp_path: Path) -> None:
    init_folder(tmp_path / "teapot", product="teapot", vendor="teapot-works")
    assert "issued_at" not in read(tmp_path / "teapot", "release.yaml")
    assert '\n# issued_at: "' in (tmp_path / "teapot" / "release.yaml").read_text()


def test_documents_compile(tmp_path: Path) -> None:
    folder = make(tmp_path / "teapot")
    contract = compile_contract(read_handwritten(folder / "contract.yaml"))
    assert compile_rollback(read_handwritten(folder / "rollback.yaml")).class_ == "stateless"
    release = read(folder, "release.yaml")
    probes = {one["name"] for one in release["probes"]}  # type: ignore[index, union-attr, call-overload]  # plain YAML
    assert {one.source.probe for one in contract.signals if one.source} == probes - {"running"}
    for name in ("site.example.yaml", "policy.example.yaml"):
        read(folder, name)


def test_the_example_site_fits_the_schema(tmp_path: Path) -> None:
    folder = make(tmp_path / "teapot")
    schema = json.loads((folder / "config.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    site = read(folder, "site.example.yaml")
    assert Draft202012Validator(schema).is_valid(site["config"])
    assert str(site["site"]).split("/")[:3] == ["first-customer", "teapot", "test"]


@pytest.mark.parametrize("name", ["release.yaml", "contract.yaml", "rollback.yaml"])
def test_commented_lines_are_good_yaml_too(tmp_path: Path, name: str) -> None:
    """Take the `# ` away from every example, as a vendor will: the file must still read."""
    text = (make(tmp_path / "teapot") / name).read_text()
    uncommented = re.sub(r"^( *)# ( *(?:- |[a-z_]+:(?: |$)))", r"\1\2", text, flags=re.MULTILINE)
    assert uncommented != text
    # Alternatives to one line (`from:` twice) stay comments.
    uncommented = re.sub(r"^ *# from: .*\n", "", uncommented, flags=re.MULTILINE)
    found = parse_handwritten(uncommented.encode(), name)
    if name == "contract.yaml":
        assert [one.name for one in compile_contract(found).signals][-1] == "request_latency"
    if name == "rollback.yaml":
        reversible = found.plain | {"class": "reversible"}  # type: ignore[operator]  # plain YAML
        compiled = compile_rollback(Handwritten(name=name, plain=reversible, lines=found.lines))
        assert compiled.steps[0].undo == ("teapot-admin", "migrate", "1")


def test_service_answers(tmp_path: Path) -> None:
    folder = make(tmp_path / "teapot")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "config.json").write_text(json.dumps({"port": port, "greeting": "Tea?"}))
    process = subprocess.Popen(
        [sys.executable, "-B", "serve.py"],
        cwd=folder / "service",
        env={"PATH": os.environ["PATH"], "WAYBILL_CONFIG": str(tmp_path / "config.json")},
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    health = json.loads(answer.read())
                break
            except urllib.error.URLError:
                assert process.poll() is None
                time.sleep(0.05)
        assert health == {"status": "passing", "version": read(folder, "release.yaml")["version"]}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            assert answer.read() == b"Tea?\n"
    finally:
        process.terminate()
        process.wait(timeout=10)
    assert tree(folder) == EXPECTED, "running it leaves nothing in the versioned folder"


def test_private_keys_stay_out_of_a_repository(tmp_path: Path) -> None:
    folder = make(tmp_path / "teapot")
    git = ["git", "-C", str(folder)]
    try:
        subprocess.run([*git, "init", "-q"], check=True)
    except FileNotFoundError:
        pytest.skip("needs git")
    ignored = subprocess.run(
        [*git, "check-ignore", "keys/release-1.key", "keys/release-1.pub", "trust.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.split() == ["keys/release-1.key"]


def test_an_empty_folder_is_filled_in_place(tmp_path: Path) -> None:
    target = tmp_path / "teapot"
    target.mkdir()
    inode = target.stat().st_ino
    make(target)
    assert tree(target) == EXPECTED
    assert target.stat().st_ino == inode, "somebody may stand in it"


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "teapot"
    target.mkdir()
    monkeypatch.chdir(target)
    assert suggest_product(Path()) == "teapot"
    make(Path())
    assert tree(target) == EXPECTED


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_exists_is_refused_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "teapot"
    if kind == "folder":
        target.mkdir()
        (target / "precious").write_text("x")
    elif kind == "file":
        target.write_text("x")
    else:
        (tmp_path / "other").mkdir()
        target.symlink_to(tmp_path / ("other" if kind == "link" else "nowhere"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedError, match="exists already"):
        make(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file or directory"):
        make(tmp_path / "nowhere" / "teapot")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("into_empty", [True, False])
@pytest.mark.parametrize("failing", range(4))
def test_a_failing_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into_empty: bool, failing: int
) -> None:
    target = tmp_path / "teapot"
    if into_empty:
        target.mkdir()
    calls = 0
    method = "write_text" if failing < 3 else "rename"
    real = getattr(Path, method)

    def fail(self: Path, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == (failing * 3 + 1 if failing < 3 else (3 if into_empty else 1)):
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, fail)
    with pytest.raises(HostError, match="No space left"):
        make(target)
    assert list(tmp_path.rglob("*")) == ([target] if into_empty else [])


@pytest.mark.parametrize(
    "name", ["", "Teapot", "tea pot", "-teapot", "tea/pot", "no", "true", "null", "42", "1.10", "a" * 129]
)
def test_a_name_that_no_document_could_hold(tmp_path: Path, name: str) -> None:
    for product, vendor in ((name, "v"), ("p", name)):
        with pytest.raises(UsageError) as caught:
            init_folder(tmp_path / "teapot", product=product, vendor=vendor)
        assert repr(name) in caught.value.problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "product"),
    [("teapot", "teapot"), ("Tea Pot", "tea-pot"), ("Tee-Kännchen", "tee-k-nnchen"), (".hidden", "hidden")],
)
def test_product_is_named_after_the_folder(tmp_path: Path, folder: str, product: str) -> None:
    assert suggest_product(tmp_path / folder) == product


@pytest.mark.parametrize("folder", ["急須", "42", "yes"])
def test_a_folder_that_gives_no_name(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="holds no product name") as caught:
        suggest_product(tmp_path / folder)
    assert caught.value.remedy == "add --product NAME"
