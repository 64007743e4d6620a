"""What a signature would say, in words: shown before a key is opened. Pure."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from content.differences.compare_values import Difference
from content.differences.release import release_differences
from content.differences.release_documents import ReleaseDocuments
from content.signing.surroundings import Surroundings
from manifests.documents.authorisation import Authorisation
from manifests.documents.described import authorisation_rows, revocation_rows, root_rows
from manifests.trust.revocations import Revocations
from manifests.trust.root import Root, parse_root
from manifests.trust.root_change import change_of_roots
from manifests.words.errors import RefusedError
from manifests.words.fingerprint import as_groups, as_words
from manifests.words.text import QUOTE, one_line
from manifests.words.units import show_count

# Of one part of a release, so many lines are shown: a release may have 100,000 files.
MAX_LINES = 40


@dataclass(frozen=True)
class Preview:
    """A document that is to be signed.

    Attributes:
        what: Its kind and number in a line.
        fingerprint: Digest of what is signed; of a root the fingerprint on the vendor's paper.
        rows: (name, value): what it says, then what it changes.
        warnings: What contradicts something that lies beside it, or weakens the vendor's trust.
    """

    what: str
    fingerprint: str
    rows: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The preview for people."""
        lines = [
            f"to sign      {one_line(self.what)}",
            f"fingerprint  {as_groups(self.fingerprint)}",
            f"             {as_words(self.fingerprint)}",
        ]
        lines += [f"{name:<12} {QUOTE if name == 'notes' else ''}{one_line(value)}" for name, value in self.rows]
        return lines + [f"warning      {one_line(text)}" for text in self.warnings]

    @property
    def data(self) -> dict[str, object]:
        """The preview for programs."""
        return {
            "what": self.what,
            "fingerprint": self.fingerprint,
            "rows": [list(row) for row in self.rows],
            "warnings": list(self.warnings),
        }


def check_agreed(preview: Preview, agreed: str | None, where: str) -> None:
    """Raise RefusedError unless the fingerprint ``agreed``, a whole digest, is that of the document."""
    if agreed is None or hmac.compare_digest(preview.fingerprint.encode(), agreed.encode()):
        return
    problem = f"this is {preview.what}, fingerprint {as_groups(preview.fingerprint)}; another one was agreed"
    remedy = "do not sign; tell whoever asked for the signature, by another way than this folder or file came"
    raise RefusedError(problem, where=where, remedy=remedy, finding="fingerprint-other")


def preview_root(root: Root, fingerprint: str, around: Surroundings) -> Preview:
    """Roles, thresholds and products, then who joins and leaves compared with the version before."""
    rows, warnings = root_rows(root, around.key_names), []
    if around.before is not None:
        before = parse_root(around.before, "the version before").root
        rows.append(("compared", f"with root {before.version}, which this one names"))
        for line in change_of_roots(before, root).named(around.key_names):
            name, _, value = line.partition(" ")
            rows.append((name, value.strip()))
        fallen = (
            (name, role.threshold, root.roles[name].threshold)
            for name, role in sorted(before.roles.items())
            if name in root.roles and root.roles[name].threshold < role.threshold
        )
        warnings += [f"threshold of role {name} falls from {old} to {new}" for name, old, new in fallen]
    elif root.version > 1:
        warnings.append(f"root {root.version - 1}, which this one names, is not here: what changes is not shown")
    practice = " (practice)" * root.practice
    return Preview(f"root {root.version} of {root.vendor}{practice}", fingerprint, tuple(rows), tuple(warnings))


def preview_list(revoked: Revocations, fingerprint: str, around: Surroundings) -> Preview:
    """What is revoked, by name where the names are known, and what is new."""
    older = [one for one in around.lists if one.version < revoked.version]
    old = {*older[-1].keys, *older[-1].releases, *older[-1].handlers} if older else set()
    is_first = revoked.version == 1
    rows = revocation_rows(revoked, around.names, old if older or is_first else None)
    warnings = [f"{entry} is no longer revoked" for entry in sorted(old - {*_entries(revoked)})]
    if not older and not is_first:
        warnings.append(f"list {revoked.version - 1} is not here: what is new is not shown")
    warnings += [
        f"{name} leads to {permit.product} {permit.goes_to.version}, which this list revokes"
        for name, permit in around.authorisations.items()
        if permit.goes_to.release in revoked.releases
    ]
    counts = ", ".join(
        show_count(len(entries), noun)
        for noun, entries in (("key", revoked.keys), ("release", revoked.releases), ("handler", revoked.handlers))
    )
    what = f"revocation list {revoked.version} of {revoked.vendor} ({counts})"
    return Preview(what, fingerprint, tuple(rows), tuple(warnings))


def _entries(revoked: Revocations) -> Iterator[str]:
    yield from revoked.keys
    yield from revoked.releases
    yield from revoked.handlers


def preview_authorisation(permit: Authorisation, fingerprint: str, around: Surroundings) -> Preview:
    """From where to where, why, and what is lost."""
    warnings = []
    if around.lists and permit.goes_to.release in around.lists[-1].releases:
        warnings.append(
            f"it leads to {permit.product} {permit.goes_to.version}, which revocation list "
            f"{around.lists[-1].version} revokes: no site will take it"
        )
    rows = tuple(authorisation_rows(permit, fingerprint))
    return Preview(f"authorisation {permit.number} of {permit.vendor}", fingerprint, rows, tuple(warnings))


def preview_release(side: ReleaseDocuments, around: Surroundings) -> Preview:
    """Every line that a review shows of the release alone, then what changes since an older one that lies beside it."""
    rows = list(_release_rows(release_differences(None, side), changes=False))
    rows += [("notes", line) for line in side.release_notes if line]
    if around.base is not None:
        base = around.base
        rows.append(("compared", f"with {base.release.product} {base.release.version}, {base.digest}, not verified"))
        rows += _release_rows(release_differences(base, side), changes=True)
    warnings = [f"not shown: {line}" for line in side.unread]
    warnings += [
        f"image {image.name} is signed by nobody" for image in side.release.images if image.signed_by == "none"
    ]
    if around.lists and side.digest in around.lists[-1].releases:
        warnings.append(f"revocation list {around.lists[-1].version} revokes this release: no site will take it")
    revoked = around.lists[-1].releases if around.lists else ()
    warnings += [
        f"its authorisation {permit.number} leads to {permit.goes_to.version}, which is revoked"
        for permit in side.authorisations
        if permit.goes_to.release in revoked
    ]
    what = f"release {side.release.product} {side.release.version}"
    return Preview(what, side.digest, tuple(rows), tuple(warnings))


def _release_rows(differences: tuple[Difference, ...], *, changes: bool) -> Iterator[tuple[str, str]]:
    """One row for each difference, at most ``MAX_LINES`` of a part."""
    shown: dict[str, int] = {}
    for difference in differences:
        shown[difference.part] = shown.get(difference.part, 0) + 1
        if shown[difference.part] <= MAX_LINES:
            values = difference.after or ""
            if changes and difference.before is not None:
                values = f"{difference.before} to {difference.after or 'none'}"
            yield (
                ("changes" if changes else difference.part),
                (f"{difference.part} {difference.name}: {values}" if changes else f"{difference.name}: {values}"),
            )
    for part, count in shown.items():
        if count > MAX_LINES:
            yield part, f"and {count - MAX_LINES} more; waybill show and waybill compare list them"
