"""Good documents, envelopes, root chains and archives, changed: the same verdict or a refusal from our error tree.

Bytes are changed blindly, and JSON with understanding: a changed value in canonical bytes gets past the first check, a
payload that its signer signs again gets past the second.
"""

import json
from base64 import b64decode
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.documents.authorisation import AUTHORISATION_TYPE, verify_authorisation
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROOT_TYPE, Pin, Root, verify_chain
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from tests.fuzz.corpus import seeds
from tests.fuzz.targets import TARGETS, permit, run
from tests.vectors.surgery import Case, from_file, from_pipe, sign_bytes, signed
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, SECOND, STRANGER, Vendor

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**53, 2**53 - 1, -(2**53), 10**400, 0.5),
    *("", "x", "\n", "\x1b[31m", "\u202e", "../..", "2026-02-30T00:00:00Z", "9" * 5000, "a" * 129),
    *("sha256:" + "0" * 64, "sha256:" + "A" * 64, "0" * 64),
    *([], {}, [[]], {"": 0}, {"a": None}, ["x"] * 200),
)


@st.composite
def edited(draw: Any, data: bytes) -> bytes:
    """Bytes replaced, put in, cut out, repeated and moved, at a few places."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        length = draw(st.sampled_from((0, 0, 1, 1, 2, 4, 64, 512)))
        piece = bytes(changed[at : at + length])
        match draw(st.sampled_from(("put", "cut", "repeat", "flip", "move"))):
            case "put":
                changed[at:at] = draw(
                    st.binary(max_size=4) | st.sampled_from((b'"', b"{", b"[" * 40, b"\0", b"\\u0000"))
                )
            case "cut":
                del changed[at : at + length]
            case "repeat":
                changed[at:at] = piece
            case "flip" if at < len(changed):
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case "move":
                del changed[at : at + length]
                to = draw(st.integers(0, len(changed)))
                changed[to:to] = piece
    return bytes(changed)


@st.composite
def reshaped(draw: Any, value: Any, depth: int = 0) -> Any:
    """A JSON value with one thing in it changed."""
    if isinstance(value, dict) and value and draw(st.integers(0, 6 + depth)) < 6:
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.sampled_from(("in",) * 6 + ("less", "more", "rename"))):
            case "in":
                return {**value, key: draw(reshaped(value[key], depth + 1))}
            case "less":
                return {name: one for name, one in value.items() if name != key}
            case "more":
                return {
                    **value,
                    draw(st.sampled_from(("x", "type", "extensions", key.upper()))): draw(st.sampled_from(ODD)),
                }
            case _:
                return {(name if name != key else name + "x"): one for name, one in value.items()}
    if isinstance(value, list) and value and draw(st.integers(0, 6 + depth)) < 6:
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.sampled_from(("in", "in", "less", "twice", "turned"))):
            case "in":
                return [*value[:at], draw(reshaped(value[at], depth + 1)), *value[at + 1 :]]
            case "less":
                return value[:at] + value[at + 1 :]
            case "twice":
                return [*value, value[at]]
            case _:
                return value[::-1]
    if isinstance(value, str) and value and draw(st.booleans()):
        return draw(st.sampled_from((value[:-1], value + "x", value.upper(), value + "\n", value[::-1])))
    if isinstance(value, int) and draw(st.booleans()):
        return value + draw(st.sampled_from((-1, 1, 1000)))
    return draw(st.sampled_from(ODD))


def spelled(value: Any) -> bytes:
    """Canonical where that is possible, and JSON of some kind where it is not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


@cache
def good(target: str) -> tuple[bytes, ...]:
    """The seeds that their reader takes, the smaller ones."""
    found = []
    for data in seeds(target):
        try:
            TARGETS[target][data[0]](data[1:])
        except (WaybillError, AssertionError):
            continue
        if len(data) < 70_000:
            found.append(data)
    return tuple(dict.fromkeys(found))


@settings(max_examples=150, suppress_health_check=SLOW)
@given(st.data())
def test_bytes_of_an_archive(data: Any) -> None:
    seed = data.draw(st.sampled_from(good("archive")))
    run("archive", seed[:1] + data.draw(edited(seed[1:])))


@settings(max_examples=400, suppress_health_check=SLOW)
@given(st.data())
def test_bytes_of_documents_and_envelopes(data: Any) -> None:
    target = data.draw(st.sampled_from(("document", "envelope")))
    seed = data.draw(st.sampled_from(good(target)))
    run(target, seed[:1] + data.draw(edited(seed[1:])))


@settings(max_examples=600, suppress_health_check=SLOW)
@given(st.data())
def test_values_of_documents_and_envelopes(data: Any) -> None:
    target = data.draw(st.sampled_from(("document", "document", "envelope")))
    seed = data.draw(st.sampled_from([one for one in good(target) if one[1:2] == b"{"]))
    changed = data.draw(reshaped(json.loads(seed[1:])))
    run(target, seed[:1] + spelled(changed))


# --- signed again: by keys that are good, over what they should not have signed ---------------------------------------

VENDOR = Vendor(signers=(RELEASE, SECOND))


@cache
def chain() -> tuple[Root, ...]:
    """Three versions; the second and third have another root key each."""
    from msgspec.structs import replace

    roots = [VENDOR.root()]
    for signer in (RELEASE, SECOND):
        before = roots[-1]
        role = replace(before.roles["root"], keys=(signer.public.keyid,))
        roles = {**before.roles, "root": role}
        previous = digest_of(sealed(len(roots), encode_root(before)))
        roots.append(replace(before, version=before.version + 1, roles=roles, previous=previous))
    return tuple(roots)


def sealed(version: int, payload: bytes) -> bytes:
    """Signed by the root key of this version and of the one before."""
    held: tuple[FileSigner, ...] = (ROOT, RELEASE, SECOND)
    return seal(payload, ROOT_TYPE, held[max(0, version - 2) : version])


def files(change: dict[int, bytes]) -> tuple[bytes, ...]:
    return tuple(sealed(n, change.get(n, encode_root(root))) for n, root in enumerate(chain(), 1))


def test_the_chain_itself_holds() -> None:
    assert verify_chain(files({}), VENDOR.pin()).newest == chain()[-1]


@settings(max_examples=300, suppress_health_check=SLOW)
@given(st.data())
def test_a_root_chain_with_a_changed_document(data: Any) -> None:
    """Whoever holds the keys can change what a root says, and the chain is judged or refused all the same."""
    which = data.draw(st.integers(1, 3))
    payload = spelled(data.draw(reshaped(json.loads(encode_root(chain()[which - 1])))))
    documents = list(files({which: payload}))
    if data.draw(st.booleans()):
        documents[data.draw(st.integers(0, 2))] = data.draw(edited(documents[data.draw(st.integers(0, 2))]))
    try:
        found = verify_chain(tuple(documents), VENDOR.pin())
    except WaybillError as error:
        assert error.exit_code in (3, 4, 8), error
        return
    # What was believed is what was signed, in order, under the pin.
    assert [one.raw for one in found.roots] == documents
    assert found.roots[0].fingerprint == VENDOR.pin().digest
    assert [one.root.version for one in found.roots] == [1, 2, 3]


@settings(max_examples=60, suppress_health_check=SLOW)
@given(st.data())
def test_a_pin_on_every_place_and_none(data: Any) -> None:
    """The same chain before readers with other pins: the newest is believed, or nothing."""
    documents = files({})[data.draw(st.integers(0, 2)) :][: data.draw(st.integers(1, 3))]
    pinned = data.draw(st.sampled_from((*chain(), Vendor(practice=True).root())))
    pin = Pin(version=data.draw(st.sampled_from((0, pinned.version, 9))), digest=digest_of(encode_root(pinned)))
    try:
        found = verify_chain(documents, pin)
    except WaybillError as error:
        assert error.exit_code == 4, error
        return
    assert pin.version in (0, pinned.version)
    assert digest_of(encode_root(pinned)) in [one.fingerprint for one in found.roots]


@settings(max_examples=200, suppress_health_check=SLOW)
@given(st.data())
def test_a_release_or_statement_that_was_signed_and_should_not_have_been(data: Any) -> None:
    """release.json or the Statement changed and signed by both release keys: judged or refused, from file and pipe."""
    which = data.draw(st.sampled_from(("release", "payload")))

    def change(raw: bytes) -> bytes:
        return spelled(data.draw(reshaped(json.loads(raw))))

    try:
        bundle = signed(VENDOR, release=change) if which == "release" else signed(VENDOR, payload=change)
    except WaybillError as error:  # its own head has no room for it
        assert error.finding == "reserve-full"
        return
    case = Case(bundle, VENDOR.pin())
    assert from_file(case).kind == from_pipe(case).kind


@settings(max_examples=60, suppress_health_check=SLOW)
@given(st.data())
def test_signers_in_every_combination(data: Any) -> None:
    """Any set of signers over the true release: good with one of the two, refused with a stranger or nobody."""
    from dataclasses import replace

    from content.bundle.head_writer import encode_head
    from manifests.trust.envelope import bundle_payload
    from tests.vendor import bulk

    chosen = data.draw(st.sets(st.sampled_from(range(5))))
    people = (RELEASE, SECOND, STRANGER, CONSIGNMENT, ROLLBACK)
    head = VENDOR.head()
    payload = bundle_payload(head.signatures[0].bundle, "test")
    pairs = sorted((sign_bytes(head.release, payload, people[n]) for n in chosen), key=lambda one: one.keyid)
    release, blobs, index = VENDOR.release()
    found = from_file(
        Case(encode_head(replace(head, signatures=tuple(pairs))) + bulk(release, blobs, index), VENDOR.pin())
    )
    assert found.good == (bool(chosen & {0, 1}) and 2 not in chosen)
    assert b64decode(json.loads(encode(json.loads(head.signatures[0].bundle)))["dsseEnvelope"]["payload"]) == payload


PERMIT = permit()


@settings(max_examples=150, suppress_health_check=SLOW)
@given(st.data())
def test_an_authorisation_that_was_signed_and_should_not_have_been(data: Any) -> None:
    """Whoever holds the rollback key can say another way, and what is believed is what was said (D-6.1 to D-6.6)."""
    payload = spelled(data.draw(reshaped(json.loads(encode(PERMIT)))))
    signers = data.draw(st.sampled_from(((ROLLBACK,), (ROLLBACK,), (RELEASE,), (ROLLBACK, STRANGER), ())))
    chain = verify_chain((VENDOR.root_file(),), VENDOR.pin())
    try:
        found = verify_authorisation(seal(payload, AUTHORISATION_TYPE, signers), chain)
    except WaybillError as error:
        assert error.exit_code in (3, 4, 8), error
        return
    assert signers == (ROLLBACK,)
    assert encode(found.authorisation) == payload
    assert found.fingerprint == digest_of(payload)
    said = found.authorisation
    assert all(one.split("/")[1] == said.product for one in said.sites)
    assert said.leaves.channel != said.goes_to.channel or said.goes_to.mark < said.leaves.mark
