"""Name the encodings in which SBOMs also come and which are not read, each with the command that converts it."""

import re

from manifests.words.errors import MalformedError

BOM = b"\xef\xbb\xbf"
_SYFT_TO_CYCLONEDX = "syft convert FILE -o cyclonedx-json=sbom.cdx.json"
_SYFT_TO_SPDX = "syft convert FILE -o spdx-json=sbom.spdx.json"
# The first bytes of text in two or four bytes a character: a byte order mark, or `{` and zeros.
_WIDE = (
    *((b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32"), (b"{\x00\x00\x00", "UTF-32LE")),
    *((b"\x00\x00\x00{", "UTF-32BE"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")),
    *((b"{\x00", "UTF-16LE"), (b"\x00{", "UTF-16BE"), (b"<\x00", "UTF-16LE"), (b"\x00<", "UTF-16BE")),
)
_PACKED = ((b"\x1f\x8b", "gzip", "gunzip"), (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"), (b"\xfd7zXZ", "xz", "unxz"))
# Text is searched in its beginning only: a comment of any length may come before the first tag.
_SEARCHED = 64 << 10


def json_text(data: bytes, what: str) -> bytes:
    """The JSON text of an SBOM, without a byte order mark. Raises MalformedError with the encoding that it is in."""
    for start, encoding in _WIDE:
        if data.startswith(start):
            raise _other(f"text in {encoding}, expected UTF-8", what, f"iconv -f {encoding} -t UTF-8 FILE > sbom.json")
    for start, packer, command in _PACKED:
        if data.startswith(start):
            raise _other(f"packed with {packer}, expected JSON", what, f"{command} -c < FILE > sbom.json")
    text = data.removeprefix(BOM)
    _refuse_other_syntax(text[:_SEARCHED].lstrip(), what)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
        raise _other(problem, what, "iconv -f ISO-8859-1 -t UTF-8 FILE > sbom.json, when it is in ISO-8859-1") from None
    return text


def _refuse_other_syntax(start: bytes, what: str) -> None:
    if start.startswith(b"<"):
        if b"cyclonedx" in start.lower():
            command = "cyclonedx convert --input-file FILE --output-file sbom.cdx.json --output-format json"
            raise _other("CycloneDX in XML, expected JSON", what, f"{command}, or {_SYFT_TO_CYCLONEDX}")
        if b"spdx" in start.lower():
            command = "pyspdxtools --infile FILE.rdf.xml --outfile sbom.spdx.json"
            raise _other("SPDX in RDF/XML, expected JSON", what, command)
        raise _other("XML, expected CycloneDX or SPDX in JSON", what, _SYFT_TO_CYCLONEDX)
    if re.search(rb"^\s*SPDXVersion\s*:", start, re.MULTILINE):
        command = f"pyspdxtools --infile FILE.spdx --outfile sbom.spdx.json, or {_SYFT_TO_SPDX}"
        raise _other("SPDX in tag-value form, expected JSON", what, command)
    if not start.startswith((b"{", b"[")) and re.search(rb"^\s*\"?spdxVersion\"?\s*:", start, re.MULTILINE):
        command = "pyspdxtools --infile FILE.spdx.yaml --outfile sbom.spdx.json"
        raise _other("SPDX in YAML, expected JSON", what, command)


def refuse_other_json(keys: frozenset[str], what: str) -> None:
    """Raise MalformedError for JSON documents that hold an SBOM, or nearly are one, by their top-level ``keys``."""
    if {"predicate", "predicateType"} <= keys:
        raise _other("an in-toto statement, expected the SBOM in it", what, "jq .predicate FILE > sbom.json")
    if {"payload", "payloadType"} <= keys:
        command = "jq -r .payload FILE | base64 -d | jq .predicate > sbom.json"
        raise _other("a DSSE envelope, expected the SBOM in it", what, command)
    if {"artifacts", "descriptor"} <= keys:
        raise _other("the JSON of syft itself, expected CycloneDX or SPDX", what, _SYFT_TO_CYCLONEDX)


def _other(problem: str, what: str, command: str) -> MalformedError:
    return MalformedError(problem, where=what, remedy=f"convert it: {command}", finding="sbom-encoding")
