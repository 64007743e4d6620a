"""docs/format.md and docs/documents.md agree with the program: every rule is cited where it is checked, and broken."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from content.bundle import bulk, graph, head, oci
from manifests.documents import authorisation, consignment, contract, enrolment, release, report, rollback
from manifests.trust import envelope, revocations, root, rotation
from manifests.words import canonical
from manifests.words.digest import digest_of
from tests.rooms import PACKAGES
from tests.vectors.example import example, in_document
from verifier.trust import release_rules

ROOT = Path(__file__).parents[2]
WITH_OLD_NUMBERS = (ROOT / "docs" / "format.md").read_text()
FORMAT, _, OLD_NUMBERS = WITH_OLD_NUMBERS.partition("\n## 18 Old numbers\n")
DOCUMENTS = (ROOT / "docs" / "documents.md").read_text()
PAGES = FORMAT + DOCUMENTS
# The second form is that of the old numbers, which nobody may cite any more.
CITED = re.compile(r"(?<![A-Za-z0-9])(?:[FD]-[0-9]+\.[0-9]+|F-[0-9]{2,3})(?![0-9])")
DEFINED = re.findall(r"^- \*\*([FD]-[0-9]+\.[0-9]+)\*\* ", PAGES, re.MULTILINE)
CODE = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
TESTS = [path for path in (ROOT / "tests").rglob("*") if path.suffix == ".py" or path.name == "README"]


@cache
def cited_in(paths: tuple[Path, ...]) -> frozenset[str]:
    return frozenset(one for path in paths for one in CITED.findall(path.read_text()))


@pytest.mark.parametrize(("letter", "page"), [("F", FORMAT), ("D", DOCUMENTS)], ids=["format", "documents"])
def test_rules_are_numbered_by_section_in_reading_order(letter: str, page: str) -> None:
    numbers = []
    for section, text in re.findall(r"^## ([0-9]+) .*\n((?:(?!## ).*\n)*)", page + "\n", re.MULTILINE):
        found = re.findall(rf"^- \*\*{letter}-([0-9.]+)\*\* ", text, re.MULTILINE)
        assert found == [f"{section}.{n}" for n in range(1, len(found) + 1)]
        numbers += found
    assert [f"{letter}-{one}" for one in numbers] == [one for one in DEFINED if one[0] == letter]


def test_every_rule_that_is_cited_in_the_pages_exists() -> None:
    assert len(DEFINED) > 150
    assert set(CITED.findall(PAGES)) == set(DEFINED)


def test_each_old_number_has_its_new_one() -> None:
    pairs = re.findall(r"(F-[0-9]{2,3}) \| ([FD]-[0-9]+\.[0-9]+)", OLD_NUMBERS)
    old, new = {one for one, _ in pairs}, {one for _, one in pairs}
    assert len(pairs) == len(old) == len(new) == 169
    assert new <= set(DEFINED)


def exit_rows() -> list[tuple[str, list[str], str, str]]:
    """Step, rules, exit code and the last column of each row of section 15."""
    table = FORMAT.partition("| step | rule | code | finding | minimal |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]
    return [(step, CITED.findall(rule), code, minimal) for step, rule, code, _, minimal in rows]


def test_every_rule_of_the_format_has_its_exit_code() -> None:
    """In the table of section 15, or among those that have none, which are named below it."""
    rows = exit_rows()
    without = FORMAT.partition("| step | rule | code |")[2].partition("\n\n")[2].partition("\n## 16 ")[0]
    named = {one for _, rules, _, _ in rows for one in rules} | set(CITED.findall(without))
    assert named == {one for one in DEFINED if one[0] == "F"} - {"F-15.1"}
    assert [int(step) for step, _, _, _ in rows] == sorted(int(step) for step, _, _, _ in rows)
    assert {code for _, _, code, _ in rows} == {"3", "4", "5", "7", "8", "–"}
    assert {minimal for _, _, _, minimal in rows} == {"yes"} | {
        f"no: {one}" for one in ("identities", "images", "known", "release", "site")
    }


@pytest.mark.parametrize("finding", re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| [0-9]+ \| .*$", FORMAT, re.M))))
def test_a_finding_of_the_table_is_one_of_the_program(finding: str) -> None:
    code = "".join(path.read_text() for path in CODE)
    assert f'"{finding}"' in code or finding in ("malformed", "untrusted")


def test_verify_txt_is_given_to_the_byte() -> None:
    shown = FORMAT.partition("`VERIFY.txt` is this text")[2]
    assert shown.partition("```text\n")[2].partition("```\n")[0].encode() == head.VERIFY_TXT
    assert f"{len(head.VERIFY_TXT):,} bytes" in shown.partition("```")[0]
    assert digest_of(head.VERIFY_TXT) in shown.partition("```")[0]


def test_the_equal_fields_are_those_of_the_predicate() -> None:
    table = FORMAT.partition("| Statement | equals in `release.json` |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| predicate")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(release.Predicate.__struct_fields__)


@pytest.mark.parametrize("rule", DEFINED)
def test_rule_is_cited_where_it_is_checked(rule: str) -> None:
    assert cited_in(tuple(CODE)) & {rule}


@pytest.mark.parametrize("rule", DEFINED)
def test_rule_is_broken_by_a_vector_or_a_test(rule: str) -> None:
    """This file does not count: it names no rule."""
    assert cited_in(tuple(TESTS)) & {rule}


@pytest.mark.parametrize("path", [*CODE, *TESTS, *(ROOT / "docs").rglob("*.md")], ids=lambda path: str(path)[-60:])
def test_no_rule_is_cited_that_does_not_exist(path: Path) -> None:
    text = FORMAT if path.name == "format.md" else path.read_text()
    assert set(CITED.findall(text)) <= set(DEFINED)


def test_the_example_is_a_real_one() -> None:
    """`python -m tests.vectors.example --write` puts it there."""
    assert in_document(WITH_OLD_NUMBERS) == example()


def structs(type_: Any) -> Iterator[type[msgspec.Struct]]:
    """Every document's struct below a type."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        yield type_
        for one in msgspec.structs.fields(type_):
            yield from structs(one.type)
    for one in get_args(type_):
        yield from structs(one)


def rows_of(first: str) -> list[str]:
    """The rows of the tables whose first column is called ``first``."""
    tables = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGES, re.MULTILINE)
    return [row for table in tables for row in table.splitlines()]


def fields_in_tables(first: str) -> set[tuple[str, str]]:
    """(part, field) for every row of the tables whose first column is called ``first``."""
    found = set()
    for row in rows_of(first):
        cell = row.split("|")[1]
        part = cell.split("`")[0].strip().rstrip(":")
        found |= {(part, name) for name in re.findall(r"`([a-z_]+)`", cell)}
    return found


def test_every_field_of_a_release_is_in_the_tables() -> None:
    whole = {name for _, name in fields_in_tables("field of `Release`")}
    assert whole == {one.encode_name for one in msgspec.structs.fields(release.Release)}
    parts = fields_in_tables("field of a part")
    shared = {"Blob", "PublicKey", "Values", "Release"}
    expected = {
        (part.__name__, one.encode_name)
        for part in structs(release.Release)
        if part.__name__ not in shared
        for one in msgspec.structs.fields(part)
    }
    assert parts == expected


@pytest.mark.parametrize(
    ("table", "type_"),
    [
        ("field of the root", root.Root),
        ("field of the predicate", release.Predicate),
        ("field of the contract", contract.Contract),
        ("field of the rollback document", rollback.Rollback),
        ("field of the list", revocations.Revocations),
        ("field of the enrolment", enrolment.Enrolment),
        ("field of the rotation", rotation.Rotation),
        ("field of the consignment", consignment.Consignment),
        ("field of the authorisation", authorisation.Authorisation),
    ],
)
def test_every_field_of_a_document_is_in_its_table(table: str, type_: type[msgspec.Struct]) -> None:
    named = {name for _, name in fields_in_tables(table)}
    assert {one.encode_name for one in msgspec.structs.fields(type_)} <= named


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The second member MUST be `release.json`, at most 8 MiB.", release.MAX_RELEASE == 8 << 20),
        ("Then come the signers, at most 128.", head.MAX_SIGNATURES == 128),
        ("at most 1 MiB each; the key ids MUST rise", head.MAX_SIG == envelope.MAX_BUNDLE == 1 << 20),
        ("at most 256 root documents, `trust/<n>.root.json`, at most 256 KiB each", root.MAX_ROOTS == 256),
        ("at most 256 KiB each", root.MAX_ROOT == 256 << 10),
        ("`revocations.json`, at most 1 MiB", revocations.MAX_REVOCATIONS == 1 << 20),
        ("the head as a whole, 32 MiB", release.MAX_HEAD == 32 << 20),
        ("nested deeper than 32 levels", canonical.MAX_DEPTH == 32),
        ("MUST NOT be nested deeper than two", graph.MAX_DEPTH == 2),
        ("MUST NOT be longer than 4 MiB", oci.MAX_MANIFEST_BYTES == 4 << 20),
        ("more than 200,000 commas and opening brackets", oci.MAX_VALUES == 200_000),
        ("or with `\\u`, MUST NOT be longer than 1 MiB", oci.MAX_NOT_ASCII == 1 << 20),
        ("more than 50,000 descriptors", graph.MAX_DESCRIPTORS == 50_000),
        ("and 50,000 annotations and `urls`", graph.MAX_ANNOTATIONS == 50_000),
        ("too, MUST NOT be longer than 16 MiB", graph.MAX_DOCUMENTS == 16 << 20),
        ("more than 24 MiB of small documents", bulk.MAX_KEPT == 24 << 20),
        ("canonical JSON, at most 1 MiB each", contract.MAX_CONTRACT == rollback.MAX_ROLLBACK == 1 << 20),
        ("longer than 65,536 bytes, and its file", report.MAX_CORE == 65536),
        ("its file not longer than 131,072", report.MAX_REPORT == 131072),
        ("a sequence more than 10,000 above", release_rules.MAX_JUMP == 10_000),
        (head.OCI_LAYOUT.decode(), True),
        ("2 … 20,000 blobs", release.MAX_MEMBERS == 20_000),
    ],
)
def test_numbers_in_the_text_are_those_of_the_program(text: str, value: bool) -> None:
    assert " ".join(text.split()) in " ".join(PAGES.split())
    assert value


@pytest.mark.parametrize(
    ("table", "type_"),
    [
        ("field of `Release`", release.Release),
        ("field of the root", root.Root),
        ("field of the predicate", release.Predicate),
        ("field of the list", revocations.Revocations),
        ("field of the contract", contract.Contract),
        ("field of the rollback document", rollback.Rollback),
        ("field of the consignment", consignment.Consignment),
        ("field of the authorisation", authorisation.Authorisation),
    ],
)
def test_the_tables_say_which_lists_may_be_left_out(table: str, type_: type[msgspec.Struct]) -> None:
    """*At most* without *required* is a default, as the section on documents says; anything else has none."""
    cells: dict[str, str] = {}
    for row in rows_of(table):
        names, text = re.findall(r"`([a-z_]+)`", row.split("|")[1]), row.split("|")[2]
        parts = text.split(";") if text.count(";") == len(names) - 1 else [text] * len(names)
        cells |= {name: part for name, part in zip(names, parts, strict=True) if name not in cells}
    for one in msgspec.structs.fields(type_):
        info = msgspec.inspect.type_info(one.type)
        if isinstance(info, msgspec.inspect.VarTupleType | msgspec.inspect.DictType):
            text = cells[one.encode_name]
            assert ("at most" in text and "required" not in text) == (not one.required), one.encode_name


def every_type(type_: Any, place: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Every type that a document is made of, with its place."""
    info = msgspec.inspect.type_info(type_)
    yield from _walk(info, place, seen)


def _walk(info: Any, place: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    yield place, info
    match info:
        case msgspec.inspect.Metadata():
            yield from _walk(info.type, place, seen)
        case msgspec.inspect.StructType():
            if info.cls in seen:
                return
            seen.add(info.cls)
            for one in info.fields:
                yield from _walk(one.type, f"{place}.{one.encode_name}", seen)
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            yield from _walk(info.item_type, place + "[]", seen)
        case msgspec.inspect.TupleType():
            for item in info.item_types:
                yield from _walk(item, place + "[]", seen)
        case msgspec.inspect.DictType():
            yield from _walk(info.key_type, place + "{key}", seen)
            yield from _walk(info.value_type, place + "{}", seen)
        case msgspec.inspect.UnionType():
            for choice in info.types:
                yield from _walk(choice, place, seen)


@pytest.mark.parametrize(
    "type_",
    [
        release.Release,
        release.ReleaseStatement,
        root.Root,
        contract.Contract,
        rollback.Rollback,
        revocations.Revocations,
        report.ReportStatement,
        enrolment.Enrolment,
    ],
    ids=str,
)
def test_documents_are_closed_and_bounded(type_: Any) -> None:
    """F-4.5 to F-4.10 by the types themselves: nothing open, nothing without an end, no null, no float."""
    for place, info in every_type(type_, "$", set()):
        match info:
            case msgspec.inspect.AnyType() | msgspec.inspect.RawType() | msgspec.inspect.FloatType():
                raise AssertionError(f"{place} is open")
            case msgspec.inspect.BytesType() | msgspec.inspect.DateTimeType() | msgspec.inspect.DecimalType():
                raise AssertionError(f"{place} has several spellings")
            case msgspec.inspect.IntType():
                assert info.ge is not None and info.ge >= -(2**53) + 1, place
                assert info.le is not None and info.le <= 2**53 - 1, place
            case msgspec.inspect.StrType():
                assert info.pattern is not None or info.max_length is not None, place
                if place.endswith("{key}"):
                    assert info.pattern is not None, place
                    assert re.fullmatch(r"\\A[\x20-\x7e]+\\Z", info.pattern), place
                if info.pattern:
                    assert info.pattern.startswith(r"\A") and info.pattern.endswith(r"\Z"), place
            case msgspec.inspect.StructType():
                struct = getattr(info.cls, "__origin__", info.cls)  # Statement[Predicate] is an alias
                assert issubclass(struct, canonical.Document), place
                config = struct.__struct_config__
                assert config.frozen and config.forbid_unknown_fields and config.omit_defaults, place
            case msgspec.inspect.VarTupleType() | msgspec.inspect.DictType():
                assert info.max_length is not None or _few_keys(info), place


def _few_keys(info: Any) -> bool:
    """A map whose keys are a handful of words has its bound in them."""
    return isinstance(info, msgspec.inspect.DictType) and isinstance(info.key_type, msgspec.inspect.LiteralType)
