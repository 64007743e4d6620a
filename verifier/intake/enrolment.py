"""Enrolment: a folder becomes a site with the root of one vendor, a policy, and a key of its own."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from content.bundle.head import open_head
from content.trust.head import verify_head
from manifests.authored.handwritten import parse_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.documents.enrolment import Enrolment, sign_enrolment
from manifests.documents.policy import Policy
from manifests.trust.keys import PublicKey, read_capped, read_public
from manifests.trust.private_keys import encode_private, generate_key
from manifests.trust.root import MAX_ROOT, Chain, Mark, Pin, Root, check_vendor_product, parse_root, verify_chain
from manifests.words.canonical import encode
from manifests.words.digest import NAME, digest_of
from manifests.words.errors import RefusedError, UntrustedError, UsageError
from manifests.words.quantities import parse_duration, parse_size
from verifier.intake.bundles import find_bundle
from verifier.intake.enrolment_files import (
    OPERATOR,
    NewPerson,
    VendorOffer,
    policy_yaml,
    read_offered_contract,
    read_offered_schema,
    site_yaml,
)
from verifier.intake.scan import scan, scan_folder
from verifier.site.disk import Disk
from verifier.site.host import Host
from verifier.site.journal.chain import Journal
from verifier.site.journal.events import Enrolled, PolicyInForce
from verifier.site.proposals import read_site_yaml
from verifier.trust.findings import VERIFIER_VERSION

_PERSON_REMEDY = "waybill enroll MEDIUM --person ops-1=ops-1.pub, with the other options, and --person once for each"
MONTHLY = "30d"


@dataclass(frozen=True)
class SiteNames:
    """The four parts of a site's name."""

    customer: str
    product: str
    environment: str
    name: str

    @property
    def site(self) -> str:
        return f"{self.customer}/{self.product}/{self.environment}/{self.name}"


def check_names(names: SiteNames) -> None:
    for option, value in vars(names).items():
        if NAME.fullmatch(value) is None:
            raise UsageError(
                f"{value!r} is not a name",
                where=f"--{option}",
                remedy="use small letters, digits, dot, dash and underscore; begin with a letter or digit",
            )


def read_offer(media: Path, fingerprint: str, channel: str | None) -> VendorOffer:
    """Read the vendor's root chain from a bundle, a folder with one, or root documents.

    Raises:
        UntrustedError: No root there has the typed fingerprint.
    """
    pin = Pin(version=0, digest=fingerprint)
    if documents := _root_documents(media):
        return VendorOffer(chain=verify_chain(documents, pin), channel=channel or "stable")
    bundle = find_bundle(media)
    verified = verify_head(open_head(bundle), pin)
    release = verified.release
    return VendorOffer(
        chain=verified.chain,
        channel=channel or release.channel,
        release=release,
        schema=read_offered_schema(bundle, release),
        contract=read_offered_contract(bundle, release),
    )


def _root_documents(media: Path) -> tuple[bytes, ...]:
    """Return the root documents in a file, or in a folder without a bundle; oldest first."""
    if media.is_file():
        return () if scan(media.resolve()) == "bundle" else (read_capped(media, MAX_ROOT),)
    files = list(scan_folder(media))
    if any(file.kind == "bundle" for file in files):
        return ()
    documents = {read_capped(file.path, MAX_ROOT) for file in files if file.kind == "root"}
    return tuple(sorted(documents, key=lambda data: parse_root(data, str(media)).root.version))


@dataclass(frozen=True)
class EnrollRequest:
    """A site to make.

    Attributes:
        people: Each approver's role and file of the public key, by name.
        target: The site's folder.
        minimum: The lowest release sequence to accept, from the vendor's paper.
        every: Promised interval of reports, such as ``7d`` or ``never``.
        answers: Values of ``site.yaml`` that are known already, as they are written, by their keys.
    """

    offer: VendorOffer
    names: SiteNames
    people: dict[str, NewPerson]
    target: Path
    practice: bool = False
    minimum: int | None = None
    every: str = MONTHLY
    answers: Mapping[str, str] = field(default_factory=dict)


def refusals_of(offer: VendorOffer, names: SiteNames, minimum: int | None) -> tuple[str, ...]:
    """Return why a site with these names, which never change, would refuse the offered release; empty if it takes it.

    `receive` judges the release as a whole; this is what follows from names and numbers alone.
    """
    release = offer.release
    if release is None:
        return ()
    audience, reasons = release.audience, []
    if release.product != names.product:
        reasons.append(f"it is of product {release.product}, not {names.product}")
    if not audience.everyone and names.customer not in audience.customers:
        reasons.append(f"it is for customer {' or '.join(audience.customers)}, not {names.customer}")
    if not audience.everyone and names.environment not in audience.environments:
        reasons.append(f"it is for environment {' or '.join(audience.environments)}, not {names.environment}")
    if minimum is not None and release.mark.sequence < minimum:
        reasons.append(f"its sequence is {release.mark.sequence}, below the lowest supported {minimum}")
    if not release.needs.fresh:
        reasons.append("it may not be a site's first release")
    return tuple(reasons)


def enroll(request: EnrollRequest, disk: Disk, host: Host) -> None:
    """Make the site's folder beside its target and rename it, so that it is complete or absent.

    Raises:
        RefusedError: The folder is not empty, or the root is not for the product.
        UntrustedError: The root is a practice root, and the request is not for practice.
    """
    target, root = request.target, request.offer.chain.newest
    check_names(request.names)
    if request.every != "never":
        parse_duration(request.every, "--report-every")
    _check_practice(root, practice=request.practice)
    check_vendor_product(root, request.names.product)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RefusedError(
            "the folder exists and is not empty", where=str(target), remedy="name another folder with --site"
        )
    keys = person_keys(request.people, request.offer.chain)
    staging = target.with_name(f".{target.name}.new")
    # The account of a service has to enter these; `secrets`, `keys` and `backups` stay closed.
    disk.make_folder(target.parent, exact=True)
    disk.remove_tree(staging)
    _build(staging, request, keys, disk, host)
    disk.rename(staging, target)
    disk.sync_folder(target.parent)


def _check_practice(root: Root, *, practice: bool) -> None:
    if root.practice and not practice:
        raise UntrustedError(
            "the root is a practice root: for testing only",
            where="trust",
            remedy="ask the vendor for the real root; to practise, add --practice",
            finding="practice",
        )
    if practice and not root.practice:
        raise RefusedError(
            "--practice was given, but the root is a real one",
            where="trust",
            remedy="remove --practice",
            finding="not-practice",
        )


def person_keys(people: dict[str, NewPerson], chain: Chain) -> dict[str, PublicKey]:
    """Return the public key of each person.

    Raises:
        UsageError: There is nobody, or a name or role is none.
        MalformedError, HostError: A file has no public key.
        RefusedError: A key is one of the vendor's, or of two people.
    """
    if not people:
        raise UsageError(
            "no approver is named",
            where="--person",
            remedy=f"{_PERSON_REMEDY}; `waybill keygen ops-1.key` makes the key",
        )
    keys = {}
    for name, person in people.items():
        for word in (name, person.role):
            if NAME.fullmatch(word) is None:
                raise UsageError(f"{word!r} is not a name", where="--person", remedy=_PERSON_REMEDY)
        keys[name] = read_public(person.key)
        # A vendor must not approve its own releases.
        if chain.key(keys[name].keyid) is not None:
            raise RefusedError(
                f"the key of {name} is one of the vendor's",
                where=str(person.key),
                remedy="name people of the customer only",
                finding="vendor-approves",
            )
        twin = next((other for other, key in keys.items() if key == keys[name] and other != name), None)
        if twin is not None:
            raise RefusedError(
                f"{twin} and {name} have the same key",
                where=str(person.key),
                remedy=f"make a key of its own for {name}: waybill keygen {name}.key",
                finding="key-of-two-people",
            )
    return keys


# Folders of a site, with their modes; each parent stands before its children.
FOLDERS = (
    ("people", 0o755),
    ("tls", 0o755),
    ("secrets", 0o700),
    ("keys", 0o700),
    ("trust", 0o755),
    ("heads", 0o755),
    ("journal", 0o755),
    ("journal/documents", 0o755),
    ("store", 0o755),
    ("store/blobs", 0o755),
    ("store/blobs/sha256", 0o755),
    ("generations", 0o755),
    ("outbox", 0o755),
    ("backups", 0o700),
)


def _build(folder: Path, request: EnrollRequest, keys: dict[str, PublicKey], disk: Disk, host: Host) -> None:
    """Write a complete site into ``folder``, its journal last."""
    offer, names = request.offer, request.names
    disk.make_folder(folder, exact=True)
    for name, mode in FOLDERS:
        disk.make_folder(folder / name, mode)
    policy = _write_policy(folder, request, keys, disk)
    for version in offer.chain.roots:
        disk.write_new(folder / "trust" / f"{version.root.version}.root.json", version.raw)
    signer = generate_key()
    # Reports are signed without a person, so the site's key has no passphrase. It signs only for the site.
    disk.write_new(folder / "keys" / "site.key", encode_private(signer, None), 0o600)
    settings = read_site_yaml(folder).site  # its placeholders are left out
    enrolment = sign_enrolment(
        Enrolment(
            site=names.site,
            key=signer.public,
            key_epoch=1,
            root=offer.chain.pin,
            channel=offer.channel,
            report_every_seconds=0 if settings.report.every == "never" else parse_duration(settings.report.every),
            practice=request.practice,
            created_at=host.stamp(),
            policy=digest_of(encode(policy)),
        ),
        signer,
    )
    disk.write_new(folder / "outbox" / "enrolment.json", enrolment)
    for document in (enrolment, encode(policy)):
        disk.write_new(folder / "journal" / "documents" / digest_of(document)[7:], document)
    disk.reserve(folder / "reserve", parse_size(settings.keep.reserve))
    first = Enrolled(
        site=names.site,
        vendor=offer.chain.newest.vendor,
        channel=offer.channel,
        site_key=signer.public,
        root=offer.chain.pin,
        practice=request.practice,
        verifier=VERIFIER_VERSION,
        salt=digest_of(secrets.token_bytes(32)),
        enrolment=digest_of(enrolment),
        minimum=None if request.minimum is None else Mark(epoch=offer.chain.newest.epoch, sequence=request.minimum),
    )
    journal = Journal.create(folder / "journal", disk, host)
    journal.append(first)
    journal.append(PolicyInForce(number=policy.number, digest=digest_of(encode(policy))))
    for root, _, _ in os.walk(folder):
        disk.sync_folder(Path(root))


def _write_policy(folder: Path, request: EnrollRequest, keys: dict[str, PublicKey], disk: Disk) -> Policy:
    """Write site.yaml, policy.yaml and the public keys; return the compiled policy."""
    for name, key in keys.items():
        disk.write_new(folder / "people" / f"{name}.pub", key.pem.encode())
    text = site_yaml(request.names.site, request.offer, request.every, request.answers)
    disk.write_new(folder / "site.yaml", text.encode())
    policy = policy_yaml(request.people).encode()
    disk.write_new(folder / "policy.yaml", policy)
    return compile_policy(parse_handwritten(policy, "policy.yaml"), lambda path: read_public(folder / path))


def read_people(given: tuple[str, ...]) -> dict[str, NewPerson]:
    """Read ``NAME=FILE`` and ``ROLE:NAME=FILE``."""
    people: dict[str, NewPerson] = {}
    for text in given:
        who, equals, path = text.partition("=")
        role, colon, name = who.rpartition(":")
        if not equals or not path or (colon and not role):
            raise UsageError(f"{text!r} is not NAME=FILE", where="--person", remedy=_PERSON_REMEDY)
        if name in people:
            raise UsageError(f"{name} is named twice", where="--person", remedy="name each person once")
        people[name] = NewPerson(Path(path), role if colon else OPERATOR)
    return people
