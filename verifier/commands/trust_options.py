"""Options that name the trust anchor."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.options import all_of, path_option
from manifests.words.errors import UsageError
from verifier.trust.anchor import TrustAnchor, named_anchor

if TYPE_CHECKING:
    from verifier.site.folder import Site


with_trust = all_of(
    path_option("--root", help="Root document that you trust."),
    click.option("--fingerprint", metavar="WORDS",
                 help="Fingerprint of the root, from the paper. For an enrolment: of the site's key."),
    path_option("--site", metavar="DIR", help="Site directory, to judge as this site does."),
    path_option("--enrolment", help="Enrolment of the site that wrote a report."),
)  # fmt: skip


def find_trust(
    root: Path | None, fingerprint: str | None, given: Path | None
) -> "tuple[TrustAnchor | None, Site | None]":
    """Return the trust anchor of --root or --fingerprint, else that of the site that judges, with the site.

    Both are None if no option and no site names an anchor.

    Raises:
        UsageError: More than one option is given.
    """
    if sum(option is not None for option in (root, fingerprint, given)) > 1:
        raise UsageError("expected one of --root, --fingerprint, --site", where="trust", remedy="leave out the others")
    anchor = named_anchor(root, fingerprint)
    if anchor is not None:
        return anchor, None
    # Imported here: verifying a bundle away from a site loads none of the site's code (docs/audit.md lists what is).
    from verifier.documents.site_view import find_judging_site
    from verifier.site.judging import site_anchor

    site = find_judging_site(given)
    return (None, None) if site is None else (site_anchor(site), site)
