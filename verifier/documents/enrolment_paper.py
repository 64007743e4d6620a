"""The paper of a first enrolment: what a vendor hands over by another way than the medium, as a page. Pure."""

import shlex

from content.signing.vendor_keys import VendorKeys
from manifests.trust.envelope import verify_signature
from manifests.trust.root import Root, SignedRoot
from manifests.words.errors import UntrustedError
from manifests.words.fingerprint import as_groups, as_words
from verifier.approval.page import CommandLine, Page, Section

# Words and groups stand in four rows, so that two people can compare them by telephone.
_ROWS = 4


def check_quorum(root: SignedRoot, where: str, keys_of_vendor: VendorKeys) -> None:
    """Check that its own quorum signed a root document: a paper names no root that is not agreed yet.

    Raises:
        UntrustedError: A signature is wrong, or there are too few.
    """
    role, keys = root.root.roles["root"], root.root.keys
    counted = [one for one in root.envelope.signatures if one.keyid in role.keys and keys[one.keyid].known]
    for signature in counted:
        verify_signature(root.envelope, signature, keys[signature.keyid], where)
    if len(counted) < role.threshold:
        key = keys_of_vendor.best_option(sorted({*role.keys} - {one.keyid for one in counted}))
        raise UntrustedError(
            f"signed by {len(counted)} of the {role.threshold} root keys that root {root.root.version} requires",
            where=where,
            remedy=f"sign it first: waybill sign {shlex.quote(where)} --key {key}",
            finding="root-signatures-missing",
        )


def enrolment_paper(root: SignedRoot, kit: str | None, minimum: int | None, about: str) -> Page:
    """Return the page for the root document ``root``.

    Args:
        kit: Digest of the kit; None leaves a line to fill in.
        minimum: Lowest release sequence that a new site accepts; None for any.
        about: Which program wrote the page, and when.
    """
    fingerprint, vendor = root.fingerprint, root.root.vendor
    practice = ("The root is a practice root, for testing only.",) if root.root.practice else ()
    people = ("name", "date", "signature")
    sections = (
        Section("practice", practice, alarm=True),
        Section("what to trust", facts=_facts(root.root, minimum)),
        Section("fingerprint of the root, in words", facts=_rows(as_words(fingerprint))),
        Section(
            "the same fingerprint, in groups", facts=(*_rows(as_groups(fingerprint)), ("as a digest", fingerprint))
        ),
        _kit_section(kit),
        _enroll_section(root.root, fingerprint, minimum),
        Section(f"handed over for {vendor}", blanks=people),
        Section("received for the customer", blanks=people),
    )
    lead = (
        f"{vendor} hands this paper over by another way than the medium.",
        "Whoever changes the paper can make a site trust another vendor.",
    )
    return Page(f"Enrolment with {vendor}", sections, lead, about)


def _facts(root: Root, minimum: int | None) -> tuple[tuple[str, str], ...]:
    return (
        ("vendor", root.vendor),
        ("product", ", ".join(root.roles["release"].products)),
        ("root", f"version {root.version}, epoch {root.epoch}"),
        ("lowest sequence", "any" if minimum is None else f"{minimum}; a new site refuses older releases"),
    )


def _rows(fingerprint: str) -> tuple[tuple[str, str], ...]:
    """Return the words or groups of a fingerprint in four rows, each with the numbers of its first and last."""
    parts = fingerprint.split()
    columns = len(parts) // _ROWS
    return tuple((f"{i + 1} to {i + columns}", " ".join(parts[i : i + columns])) for i in range(0, len(parts), columns))


def _kit_section(kit: str | None) -> Section:
    digits = (kit or "").removeprefix("sha256:")
    return Section(
        "1. compare the digest of the kit before you run it",
        (CommandLine("sha256sum MEDIUM/waybill.pyz"),),
        facts=(("must print", digits[:32]), ("without a space", digits[32:])) if kit else (),
        blanks=() if kit else ("must print", "without a space"),
    )


def _enroll_section(root: Root, fingerprint: str, minimum: int | None) -> Section:
    products = root.roles["release"].products
    return Section(
        "2. make the site",
        (
            "MEDIUM is the folder of the medium. FILE is the public key of a person who approves.",
            "The customer chooses the other names in capitals. Give --person once for each person.",
            *map(CommandLine, enroll_lines(root, fingerprint, minimum)),
        ),
        facts=(("PRODUCT", f"one of {', '.join(products)}"),) if len(products) > 1 else (),
        after=(
            "If the medium has no root with this fingerprint, enroll refuses it. Do not continue; ask the vendor.",
            "Then enroll prints the fingerprint of the site. Read it to the vendor's support by telephone.",
        ),
    )


def enroll_lines(root: Root, fingerprint: str, minimum: int | None) -> list[str]:
    """Return the command that makes a site, in lines that a shell reads as one. Names in capitals are placeholders."""
    (_, first), *others = _rows(as_words(fingerprint))
    products = root.roles["release"].products
    lines = ["python3 MEDIUM/waybill.pyz enroll MEDIUM", f'    --fingerprint "{first}']
    lines += [f"        {row}" for _, row in others]
    lines[-1] += '"'
    lines += ["    --customer CUSTOMER", f"    --product {products[0] if len(products) == 1 else 'PRODUCT'}"]
    lines += ["    --environment ENVIRONMENT", "    --name NAME", "    --person ROLE:PERSON=FILE"]
    lines += [f"    --minimum-sequence {minimum}"] if minimum is not None else []
    lines += ["    --practice"] if root.practice else []
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
