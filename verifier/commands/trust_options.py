"""Options that name the trust anchor."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from console.options import path_option
from manifests.words.errors import UsageError
from verifier.trust.anchor import TrustAnchor, named_anchor

if TYPE_CHECKING:
    from verifier.site.folder import Site

_Command = TypeVar("_Command", bound=Callable[..., object])


def with_trust(function: _Command) -> _Command:
    """Add the options that name the trust anchor."""
    for option in (
        path_option("--enrolment", help="Enrolment of the site that wrote a report."),
        path_option("--site", metavar="DIR", help="Site directory, to judge as this site does."),
        click.option("--fingerprint", metavar="WORDS",
                     help="Fingerprint of the root, from the paper. For an enrolment: of the site's key."),
        path_option("--root", help="Root document that you trust."),
    ):  # fmt: skip
        function = option(function)
    return function


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
    from verifier.documents.site_view import find_judging_site, site_anchor

    site = find_judging_site(given)
    return (None, None) if site is None else (site_anchor(site), site)
