"""Sign with a key in a PKCS#11 token, named by a URI of RFC 7512.

The message is hashed here and signed with CKM_ECDSA, because not every token has a mechanism that hashes as well. The
library python-pkcs11 is an extra; without it such a key is refused.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from content.signing.uri import AskPassphrase, KeyUri, checked_signature, unescape
from manifests.trust.keys import ECDSA_P256, PublicKey, encode_base64, load_public, read_capped
from manifests.trust.private_keys import check_private_mode
from manifests.words.errors import HostError, MalformedError, RefusedError, UsageError

if TYPE_CHECKING:
    import pkcs11  # an extra, imported where a token is used

MAX_PIN = 4096
_PATH = ("token", "serial", "object", "id", "type")
_QUERY = ("module-path", "pin-source")


@dataclass(frozen=True)
class TokenKey:
    """A key and its token, as the URI names them."""

    uri: str
    module: str
    token: str | None
    serial: bytes | None
    object: str | None
    id: bytes | None

    @property
    def name(self) -> str:
        return self.object or (self.id or b"").hex()


@dataclass(frozen=True)
class TokenSigner:
    """Opens a session for each signature; the PIN stays in memory and is in no message."""

    where: TokenKey
    pin: str
    key: PublicKey

    def __repr__(self) -> str:
        return f"TokenSigner({self.where.uri!r})"

    @property
    def public(self) -> PublicKey:
        return self.key

    def sign(self, message: bytes) -> bytes:
        """Raises HostError when the token does not answer, RefusedError for a wrong answer."""
        import pkcs11

        with _session(self.where, self.pin) as session:
            key = _find(session, self.where, pkcs11.ObjectClass.PRIVATE_KEY)
            if not isinstance(key, pkcs11.SignMixin):
                problem = "the token does not let this key sign"
                remedy = "name another key of the token, or make one with the attribute CKA_SIGN"
                raise HostError(problem, where=self.where.uri, remedy=remedy, finding="token-unusable")
            raw = bytes(key.sign(hashlib.sha256(message).digest(), mechanism=pkcs11.Mechanism.ECDSA))
        if len(raw) != 64:
            raise HostError(
                f"the token answered with {len(raw)} bytes, expected 64",
                where=self.where.uri,
                remedy="use a key of ECDSA on P-256, and the PKCS#11 module of the token's maker",
                finding="token-unusable",
            )
        signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        return checked_signature(signature, message, self.key, self.where.uri)


def open_token(uri: KeyUri, ask: AskPassphrase, beside: Path) -> TokenSigner:
    """Open a token and find the key and its public half.

    Raises:
        UsageError: The URI names too little, or an unknown attribute.
        RefusedError: The PIN is wrong, or its file is readable by others; or the library is not installed.
        HostError: No such module, token or key.
        MalformedError: The key is not P-256.
    """
    where = parse_token_uri(uri)
    try:
        import pkcs11
        from pkcs11.util.ec import encode_ec_public_key
    except ImportError:
        problem = "keys in tokens need python-pkcs11, which is not installed"
        remedy = "pip install 'airgap-waybill[pkcs11]'"
        raise RefusedError(problem, where=uri.text, remedy=remedy, finding="pkcs11-unavailable") from None
    pin = _pin(uri, where, ask, beside)
    with _session(where, pin) as session:
        _find(session, where, pkcs11.ObjectClass.PRIVATE_KEY)
        public = _find(session, where, pkcs11.ObjectClass.PUBLIC_KEY)
        assert isinstance(public, pkcs11.PublicKey)
        try:
            spki = bytes(encode_ec_public_key(public))
        except (pkcs11.exceptions.PKCS11Error, ValueError, TypeError, KeyError):
            raise MalformedError("not a P-256 key", where=uri.text) from None
    key = PublicKey(algorithm=ECDSA_P256, public=encode_base64(spki))
    load_public(key)
    return TokenSigner(where=where, pin=pin, key=key)


def parse_token_uri(uri: KeyUri) -> TokenKey:
    """The attributes of RFC 7512 that name a key; any other is refused, because it might name another key."""
    attributes: dict[str, bytes] = {}
    for pair in uri.path.split(";") if uri.path else ():
        name, equals, value = pair.partition("=")
        if name not in _PATH or not equals or name in attributes:
            raise UsageError(
                f"{pair!r} is not understood", where=uri.text, remedy=f"name the key by {', '.join(_PATH)}, each once"
            )
        attributes[name] = unescape(value, uri.text)
    if any(name in ("pin-value", "pin") for name, _ in uri.query):
        remedy = "use pin-source=FILE, --passphrase-fd N, WAYBILL_PASSPHRASE_FILE, or the prompt"
        raise UsageError("a PIN on a command line can be read by other users", where="pin-value", remedy=remedy)
    unknown = sorted({name for name, _ in uri.query} - set(_QUERY))
    if unknown:
        raise UsageError(f"{unknown[0]} is not understood, expected {' or '.join(_QUERY)}", where=uri.text)
    module = uri.value("module-path")
    if attributes.get("type", b"private") != b"private":
        raise UsageError("the type is not private", where=uri.text, remedy="write type=private, or leave it out")
    if module is None or not Path(module).is_absolute() or not {"token", "serial"} & set(attributes):
        remedy = "write pkcs11:token=NAME;object=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so"
        raise UsageError("the URI needs token= and an absolute module-path=", where=uri.text, remedy=remedy)
    if not {"object", "id"} & set(attributes):
        raise UsageError("the URI names no key", where=uri.text, remedy="add object= or id=")
    try:
        text = {name: attributes[name].decode() for name in ("token", "object") if name in attributes}
    except UnicodeDecodeError:
        raise UsageError("token and object are not UTF-8", where=uri.text) from None
    return TokenKey(
        uri=uri.text,
        module=module,
        token=text.get("token"),
        serial=attributes.get("serial"),
        object=text.get("object"),
        id=attributes.get("id"),
    )


def _pin(uri: KeyUri, where: TokenKey, ask: AskPassphrase, beside: Path) -> str:
    source = uri.value("pin-source")
    if source is None:
        data = ask(f"PIN for key {where.name}")
    else:
        path = beside / source.removeprefix("file:")
        check_private_mode(path)
        data = read_capped(path, MAX_PIN).split(b"\n", 1)[0].rstrip(b"\r")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError("the PIN is not UTF-8", where=where.name) from None


@contextmanager
def _session(where: TokenKey, pin: str) -> "Iterator[pkcs11.Session]":
    """A session with the token. Raises RefusedError for a wrong PIN, HostError when the token cannot be used."""
    import pkcs11
    from pkcs11 import exceptions

    if not Path(where.module).is_file():
        raise HostError("no such module", where=where.module, remedy="write the path of the token's .so: module-path=")
    try:
        token = pkcs11.lib(where.module).get_token(token_label=where.token, token_serial=where.serial)
        session = token.open(user_pin=pin)
    except (exceptions.PinIncorrect, exceptions.PinLenRange, exceptions.PinInvalid):
        remedy = "try again with care: most tokens lock themselves after a few wrong PINs"
        raise RefusedError("wrong PIN", where=where.uri, finding="passphrase-wrong", remedy=remedy) from None
    except exceptions.PinLocked:
        problem = "the token is locked after wrong PINs"
        remedy = "unlock it with the PIN of its security officer"
        raise RefusedError(problem, where=where.uri, finding="passphrase-wrong", remedy=remedy) from None
    except (exceptions.PKCS11Error, RuntimeError) as error:
        raise _unusable(error, where) from None
    try:
        with session:
            yield session
    except exceptions.PKCS11Error as error:
        raise _unusable(error, where) from None


def _unusable(error: Exception, where: TokenKey) -> HostError:
    """Tokens report only the kind of failure."""
    kind = type(error).__name__
    problem = f"the token cannot be used: {kind}" + (f", {error}" if str(error) else "")
    remedy = "plug it in, and check token, object and module"
    return HostError(problem, where=where.uri, remedy=remedy, finding="token-unusable")


def _find(session: "pkcs11.Session", where: TokenKey, kind: "pkcs11.ObjectClass") -> "pkcs11.Key":
    import pkcs11

    wanted = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.LABEL: where.object, pkcs11.Attribute.ID: where.id}
    # All of them: a search that is left half done disturbs the session that it belongs to.
    keys = list(session.get_objects({key: value for key, value in wanted.items() if value is not None}))
    if len(keys) != 1 or not isinstance(keys[0], pkcs11.Key):
        half = kind.name.lower().replace("_", " ")
        problem = f"the token has {len(keys) or 'no'} {half} called {where.name}, expected one"
        remedy = "name it by object= and id= together; put both halves of the key into the token"
        raise HostError(problem, where=where.uri, remedy=remedy, finding="token-unusable")
    return keys[0]
