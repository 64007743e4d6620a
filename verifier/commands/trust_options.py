"""Options that say whom to trust."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from manifests.words.errors import UsageError
from verifier.trust.anchor import TrustAnchor, named_anchor

if TYPE_CHECKING:
    from verifier.site.folder import Site

trust_options = (
    click.option("--root", "root", type=click.Path(path_type=Path), help="A root document that you trust."),
    click.option(
        "--fingerprint",
        metavar="WORDS",
        help="Fingerprint of the root, from the paper; of an enrolment, that of the site's key.",
    ),
    click.option("--site", type=click.Path(path_type=Path), help="Judge as this site would."),
    click.option("--enrolment", type=click.Path(path_type=Path), help="Of a report: the enrolment of its site."),
)


def with_trust(function: Any) -> Any:
    for option in reversed(trust_options):
        function = option(function)
    return function


def find_trust(
    root: Path | None, fingerprint: str | None, given: Path | None
) -> "tuple[TrustAnchor | None, Site | None]":
    """Whom to trust: --root or --fingerprint, else the site that judges; two times None when nothing says so.

    Raises:
        UsageError: Two say so.
    """
    if sum(one is not None for one in (root, fingerprint, given)) > 1:
        raise UsageError("--root, --fingerprint and --site are three answers to one question, give one", where="trust")
    anchor = named_anchor(root, fingerprint)
    if anchor is not None:
        return anchor, None
    # Away from a site, a verdict needs none of the site's code: an auditor reads what is loaded.
    from verifier.documents.site_view import find_judging_site, site_anchor

    site = find_judging_site(given)
    return (None, None) if site is None else (site_anchor(site), site)
