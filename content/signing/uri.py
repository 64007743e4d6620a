"""Parse key URIs, and check the signature of a token or a program."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import low_s
from manifests.words.errors import RefusedError, UntrustedError, UsageError

AskPassphrase = Callable[[str], bytes]
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# Characters that need no escape in the values of such a URI: unreserved in RFC 3986, and those of paths.
_VALUE = re.compile(r"(?:[A-Za-z0-9._~!$'()*+,:@/ -]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True)
class KeyUri:
    """A parsed URI ``scheme:path?name=value&name=value``; values are still escaped."""

    text: str
    path: str
    query: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str | None:
        """The value of a query attribute that may be given once."""
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise UsageError(f"{name} is given twice", where=self.text, remedy=f"give {name} once")
        return unescape(values[0], self.text).decode() if values else None


def split_uri(uri: str) -> KeyUri:
    """Raises UsageError unless every query attribute is ``name=value`` with special characters escaped."""
    path, _, query = uri.partition(":")[2].partition("?")
    pairs = []
    for attribute in query.split("&") if query else ():
        name, equals, value = attribute.partition("=")
        if not name or not equals or not _VALUE.fullmatch(value):
            raise UsageError(
                f"found {attribute!r}, expected name=value", where=uri, remedy="write special characters as %XX"
            )
        pairs.append((name, value))
    return KeyUri(text=uri, path=path, query=tuple(pairs))


def unescape(text: str, where: str) -> bytes:
    """Percent-decoding (RFC 3986, section 2.1)."""
    if not _VALUE.fullmatch(text):
        raise UsageError(f"{text!r} holds characters that must be escaped", where=where, remedy="write them as %XX")
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1]).decode("latin-1"), text).encode("latin-1")


def checked_signature(signature: bytes, message: bytes, key: PublicKey, what: str) -> bytes:
    """The signature of a token or program with low S. Raises RefusedError unless it is by ``key`` over ``message``."""
    try:
        normal = low_s(signature)
        key.verify(normal, message, what)
    except (ValueError, UntrustedError):
        problem = f"the answer is no signature by key {key.keyid[:12]}"
        remedy = "name the public half of the key that signs"
        raise RefusedError(problem, where=what, remedy=remedy, finding="signer-wrong") from None
    return normal
