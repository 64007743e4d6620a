"""The enrolment: the document by which a site introduces itself, signed by the key that it names."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

from manifests.trust.envelope import parse_envelope, verify_signature
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey, load_public
from manifests.trust.private_keys import Signer
from manifests.trust.root import Pin
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Digest, KeyId, Name, Positive, SiteId, Time, digest_of
from manifests.words.errors import MalformedError, NewerError
from manifests.words.fingerprint import as_groups, as_words

ENROLMENT_TYPE = "application/vnd.waybill.enrolment.v1+json"
MAX_ENROLMENT = 64 << 10
# A report promised less often than every ten years is not promised.
MAX_CADENCE = 10 * 366 * 86400

Cadence = Annotated[int, Meta(ge=0, le=MAX_CADENCE)]
RenewReason = Literal["key-lost", "key-stolen", "backup-restored", "host-replaced"]
RENEW_REASONS: tuple[RenewReason, ...] = get_args(RenewReason)


class Renewed(Document, frozen=True, kw_only=True):
    """Why a site signs with a key that its previous key did not sign. Only a person at the vendor can accept that.

    Attributes:
        former: Key id of the previous key.
        former_epoch: Key epoch of the previous key.
        last_seq: The last report by it that this folder holds, 0 for none; ``last`` is the digest of its file. The
            vendor may hold later ones, when a backup was restored.
    """

    reason: RenewReason
    former: KeyId
    former_epoch: Positive
    last_seq: Count = 0
    last: Digest | None = None


class Enrolment(Document, frozen=True, kw_only=True, tag_field="type", tag=ENROLMENT_TYPE):
    """What a site is and which key signs its reports.

    Attributes:
        site: Customer, product, environment and name, joined by ``/``.
        key_epoch: 1 at first; each later key of the same site counts on.
        renews: Given exactly for a later key: what it replaces, and why. The site's reports begin anew from here.
        root: Version and payload digest of the vendor's root that the site trusts.
        report_every_seconds: How often it promises to report; 0 means never.
        practice: The site accepts what a practice root signs.
        created_at: By the site's own clock; shown, never judged.
        policy: Digest of the site's first policy, which every later one descends from. Absent in enrolments of a
            program that did not state it.
    """

    site: SiteId
    key: PublicKey
    key_epoch: Positive
    root: Pin
    channel: Name
    report_every_seconds: Cadence
    practice: bool = False
    created_at: Time
    renews: Renewed | None = None
    policy: Digest | None = None

    @property
    def customer(self) -> str:
        return site_names(self.site)[0]

    @property
    def product(self) -> str:
        return site_names(self.site)[1]

    @property
    def environment(self) -> str:
        return site_names(self.site)[2]

    @property
    def name(self) -> str:
        return site_names(self.site)[3]


@dataclass(frozen=True)
class SignedEnrolment:
    """An enrolment, verified with the key that it names. The site's first report names the digest of ``raw``."""

    raw: bytes
    enrolment: Enrolment

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def groups(self) -> str:
        """Fingerprint of the site's key as sixteen groups with check letters."""
        return key_groups(self.enrolment.key)

    @property
    def words(self) -> str:
        """The same fingerprint as 24 words."""
        return as_words("sha256:" + self.enrolment.key.keyid)


def site_names(site: str) -> tuple[str, str, str, str]:
    """Customer, product, environment and name of a valid site id."""
    customer, product, environment, name = site.split("/")
    return customer, product, environment, name


def key_groups(key: PublicKey) -> str:
    """A public key's fingerprint for people: SHA-256 over its DER form, the same digits as its key id."""
    return as_groups("sha256:" + key.keyid)


def sign_enrolment(enrolment: Enrolment, signer: Signer) -> bytes:
    """The enrolment file: one DSSE envelope with one signature, by the key inside."""
    if signer.public != enrolment.key:
        raise ValueError("an enrolment is signed by the key that it names")
    return seal(encode(enrolment), ENROLMENT_TYPE, (signer,))


def _check_renewal(enrolment: Enrolment, what: str) -> None:
    renews = enrolment.renews
    if (enrolment.key_epoch > 1) != (renews is not None):  # D-3.2
        raise MalformedError("a later key says what it renews, the first one nothing", where=f"{what} $.renews")
    if renews is not None and (
        renews.former_epoch >= enrolment.key_epoch
        or renews.former == enrolment.key.keyid
        or (renews.last_seq == 0) != (renews.last is None)
    ):
        raise MalformedError("it does not follow the key that it renews", where=f"{what} $.renews")


def verify_enrolment(data: bytes, what: str = "enrolment") -> SignedEnrolment:
    """Read an enrolment and verify that the key it names signed it.

    Raises:
        MalformedError: Not an enrolment, or not signed by exactly that key.
        NewerError: The key's algorithm is unknown here.
        UntrustedError: The signature does not match.
    """
    envelope = parse_envelope(data, ENROLMENT_TYPE, what, max_bytes=MAX_ENROLMENT)
    enrolment = parse(envelope.payload_bytes, Enrolment, what, max_bytes=MAX_ENROLMENT)
    if not enrolment.key.known:  # D-3.1
        problem = f"its key is of the unknown algorithm {enrolment.key.algorithm!r}"
        raise NewerError(problem, where=what, remedy="use a newer version of waybill")
    load_public(enrolment.key)
    _check_renewal(enrolment, what)
    if len(envelope.signatures) != 1:  # D-3.3
        problem = f"{len(envelope.signatures)} signatures, an enrolment has one: by the key that it names"
        raise MalformedError(problem, where=what, finding="enrolment-signature")
    verify_signature(envelope, envelope.signatures[0], enrolment.key, what)
    return SignedEnrolment(raw=data, enrolment=enrolment)
