"""Check the release notes that ``release.yaml`` names."""

from manifests.words.errors import MalformedError

MAX_NOTES = 1 << 20


def check_notes(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is text that a terminal can show line by line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}", where=what) from None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        for char in line:
            if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160:
                raise MalformedError(f"holds the control character U+{ord(char):04X}", where=f"{what}:{number}")
