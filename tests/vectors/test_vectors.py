"""Each vector ends as its `expect` says; a bundle from a file and from a pipe."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.words.errors import WaybillError
from tests.vectors import minimal_verifier
from tests.vectors.make import HERE, frozen, read_expect, topics
from tests.vectors.of_frozen import FROZEN
from tests.vectors.published import INDEX, Line, judge_document, publish, read_case, read_index
from tests.vectors.surgery import Case, from_file, from_pipe, judge_file, verdict
from tests.waybill import waybill
from verifier.trust.findings import refusal

TOPICS = topics()
FROZEN_CASES = frozen()
# Their verdict depends on what a program does, or on a whole site, and not on files alone.
UNPUBLISHED = (
    "authorisation-at-a-site",
    "authorisation-in-a-release",
    "consignment-at-a-site",
    "consignment-requests",
    "signing",
)
VARIANTS = [(topic, variant) for topic, one in TOPICS.items() for variant in one.variants]


@pytest.mark.parametrize(("topic", "variant"), VARIANTS, ids=[f"{topic}/{variant}" for topic, variant in VARIANTS])
def test_vector(topic: str, variant: str) -> None:
    case = TOPICS[topic].variants[variant]()
    found = verdict(case)
    assert found.line == read_expect(HERE / topic).get(variant), found.text
    if isinstance(case, Case):
        assert from_pipe(case).kind == found.kind


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that `make vectors` writes."""
    folder = tmp_path_factory.mktemp("published") / "vectors"
    publish(folder)
    yield folder
    shutil.rmtree(folder)


def test_the_published_folder_is_judged_as_its_index_says(published: Path) -> None:
    """Every file that a stranger gets, through the entry that `waybill verify` uses, with nothing but the folder."""
    wrong = []
    for line in read_index(published):
        try:
            if line["kind"] == "bundle":
                found = judge_line(published, line)
            else:
                judge_document(published, line)
                found = (0, None, False)
        except WaybillError as error:
            found = (error.exit_code, error.finding, False)
        if found != (line["exit"], line["finding"], line["delta"]):
            wrong.append((line["vector"], found))
    assert not wrong


def judge_line(folder: Path, line: Line) -> tuple[int, str | None, bool]:
    """Exit code, finding, and whether the verdict rests on what the site holds."""
    found = judge_file(folder / line["file"], read_case(folder, line))
    failed = refusal(found.findings)
    if failed is not None:
        return failed.exit_code, failed.finding, False
    return 0, None, found.end == "complete with what this site holds"


def test_the_published_folder_holds_every_vector_that_is_files_alone(published: Path) -> None:
    lines = read_index(published)
    names = [line["vector"] for line in lines]
    expected = {f"{topic}/{variant}" for topic, variant in VARIANTS if topic not in UNPUBLISHED}
    assert len(names) == len(set(names))
    assert set(names) == expected | {f"{name}/bundle" for name in FROZEN_CASES}
    listed = {name for line in lines for name in (line["file"], line.get("revocations"), *line.get("roots", ()))}
    there = {str(path.relative_to(published)) for path in published.rglob("*") if path.is_file()}
    assert {name for name in there if not name.endswith(("README", "README.md"))} - {INDEX} == listed - {None}


def test_the_readme_names_every_field_of_the_index(published: Path) -> None:
    named = set(re.findall(r"`([a-z_]+)`", (published / "README.md").read_text()))
    for line in read_index(published):
        assert set(line) | set(line["needs"]) | set(line.get("site") or ()) <= named


def test_the_command_ends_with_the_exit_code_of_the_index(published: Path) -> None:
    """`waybill verify` itself, for the first vector of each exit code that needs nothing but the file and the pin."""
    plain = [line for line in read_index(published) if line["kind"] == "bundle" and not line["needs"]]
    first = {line["exit"]: line for line in reversed(plain)}
    assert set(first) == {0, 3, 4, 5, 7, 8}
    for exit_code, line in first.items():
        done = waybill("verify", published / line["file"], "--fingerprint", line["pin"]["digest"])
        assert done.code == exit_code, (line["vector"], done)


def test_a_verifier_that_was_written_from_the_format_alone_agrees(published: Path) -> None:
    """Each line that asks for the minimal rules only, judged by a program that shares no code with ours."""
    wrong = {}
    for line in read_index(published):
        if line["needs"]:
            continue
        try:
            minimal_verifier.verify((published / line["file"]).read_bytes(), **of_pin(line["pin"]))
            code = 0
        except minimal_verifier.Refused as refused:
            code = refused.code
        if code != line["exit"]:
            wrong[line["vector"]] = code
    assert not wrong


def of_pin(pin: Line) -> Line:
    return {"pin": pin["digest"], "pin_version": pin["version"]}


def test_that_verifier_shares_no_code_with_ours() -> None:
    text = Path(minimal_verifier.__file__).read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.mark.parametrize("name", sorted(FROZEN_CASES))
def test_frozen_vector(name: str) -> None:
    case = FROZEN_CASES[name]
    expected = (HERE / name / "expect").read_text().strip()
    assert from_file(case).line == expected
    assert from_pipe(case).line == expected


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_today_makes_the_frozen_bytes(name: str) -> None:
    """As long as the writer of format 1 is here, it writes the same bundle for the same input."""
    assert FROZEN[name][1]() == FROZEN_CASES[name]


def test_folders_are_the_topics() -> None:
    folders = {path.parent.name for path in HERE.glob("*/expect")}
    assert folders == set(TOPICS) | set(FROZEN)
    for name, topic in TOPICS.items():
        assert (HERE / name / "README").read_text() == topic.text + "\n", name
        assert list(read_expect(HERE / name)) == list(topic.variants), name


def test_a_flipped_byte_of_a_frozen_head_is_refused() -> None:
    """The frozen bundles are no exception: their heads are bound as any other's."""
    for name in ("frozen-one-signer", "frozen-two-signers"):
        case = FROZEN_CASES[name]
        for at in range(1024, 12_000, 211):
            data = case.bundle[:at] + bytes([case.bundle[at] ^ 1]) + case.bundle[at + 1 :]
            assert not from_file(Case(data, case.pin)).good, (name, at)
