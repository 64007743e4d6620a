"""Name the encodings in which SBOMs also come and which are not read, each with the command that converts it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from manifests.words.errors import MalformedError
from manifests.words.packers import packer_of

BOM = b"\xef\xbb\xbf"
_SYFT_TO_CYCLONEDX = "syft convert {file} -o cyclonedx-json={out}"
_SYFT_TO_SPDX = "syft convert {file} -o spdx-json={out}"
# The first bytes of text in two or four bytes a character: a byte order mark, or `{` and zeros.
_WIDE = (
    *((b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32"), (b"{\x00\x00\x00", "UTF-32LE")),
    *((b"\x00\x00\x00{", "UTF-32BE"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")),
    *((b"{\x00", "UTF-16LE"), (b"\x00{", "UTF-16BE"), (b"<\x00", "UTF-16LE"), (b"\x00<", "UTF-16BE")),
)
# Text is searched in its beginning only: a comment of any length may come before the first tag.
_SEARCHED = 64 << 10


@dataclass(frozen=True)
class SbomSource:
    """Where an SBOM is. Attributes: what: for messages; path: its file, None when it is not a file of the caller."""

    what: str
    path: Path | None = None

    def other(self, problem: str, command: str) -> MalformedError:
        """Return the error with the ``command`` that converts the file: ``{file}`` into ``{out}`` beside it."""
        path = self.path or Path("FILE")
        names = {"file": shlex.quote(str(path)), "out": shlex.quote(str(path.with_name(f"{path.stem}.converted.json")))}
        remedy = f"convert it and name the new file: {command.format(**names)}"
        return MalformedError(problem, where=self.what, remedy=remedy, finding="sbom-encoding")

    def pyspdxtools(self, ending: str) -> str:
        """Return the command for a file that pyspdxtools knows by its ``ending``."""
        if self.path is None or self.path.name.endswith(ending):
            return "pyspdxtools --infile {file} --outfile {out}"
        return f"cp {{file}} {{file}}{ending} && pyspdxtools --infile {{file}}{ending} --outfile {{out}}"


def json_text(data: bytes, source: SbomSource) -> bytes:
    """The JSON text of an SBOM, without a byte order mark.

    Raises MalformedError with the encoding that it is in, or when there is none.
    """
    for start, encoding in _WIDE:
        if data.startswith(start):
            problem = f"text in {encoding}, expected UTF-8"
            raise source.other(problem, f"iconv -f {encoding} -t UTF-8 {{file}} > {{out}}")
    if packer := packer_of(data):
        command = f"{packer.command} -c < {{file}} > {{out}}" if packer.command else f"{packer.archive} {{file}}"
        raise source.other(f"{packer.what}, expected JSON", command)
    text = data.removeprefix(BOM)
    if not text.strip():
        remedy = "make the SBOM again: a tool that fails leaves an empty file behind"
        raise MalformedError("the file is empty", where=source.what, remedy=remedy, finding="sbom-empty")
    _refuse_other_syntax(text[:_SEARCHED].lstrip(), source)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        command = "iconv -f ISO-8859-1 -t UTF-8 {file} > {out}, when it is in ISO-8859-1"
        raise source.other(f"byte {error.start} is not UTF-8", command) from None
    return text


def _refuse_other_syntax(start: bytes, source: SbomSource) -> None:
    if start.startswith(b"<"):
        if b"cyclonedx" in start.lower():
            command = "cyclonedx convert --input-file {file} --output-file {out} --output-format json"
            raise source.other("CycloneDX in XML, expected JSON", f"{command}, or {_SYFT_TO_CYCLONEDX}")
        if b"spdx" in start.lower():
            raise source.other("SPDX in RDF/XML, expected JSON", source.pyspdxtools(".rdf.xml"))
        raise source.other("XML, expected CycloneDX or SPDX in JSON", _SYFT_TO_CYCLONEDX)
    if re.search(rb"^\s*SPDXVersion\s*:", start, re.MULTILINE):
        command = f"{_SYFT_TO_SPDX}, or {source.pyspdxtools('.spdx')}"
        raise source.other("SPDX in tag-value form, expected JSON", command)
    if not start.startswith((b"{", b"[")) and re.search(rb"^\s*\"?spdxVersion\"?\s*:", start, re.MULTILINE):
        raise source.other("SPDX in YAML, expected JSON", source.pyspdxtools(".yaml"))


def refuse_other_json(keys: frozenset[str], source: SbomSource) -> None:
    """Raise MalformedError for JSON documents that hold an SBOM, or nearly are one, by their top-level ``keys``."""
    if {"predicate", "predicateType"} <= keys:
        raise source.other("an in-toto statement, expected the SBOM in it", "jq .predicate {file} > {out}")
    if {"payload", "payloadType"} <= keys:
        command = "jq -r .payload {file} | base64 -d | jq .predicate > {out}"
        raise source.other("a DSSE envelope, expected the SBOM in it", command)
    if {"artifacts", "descriptor"} <= keys:
        raise source.other("the JSON of syft itself, expected CycloneDX or SPDX", _SYFT_TO_CYCLONEDX)
