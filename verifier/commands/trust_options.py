"""Options that name the trust anchor."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.options import all_of, path_option
from manifests.words.errors import UsageError, WaybillError
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


# The option that names other trust for a document of this kind; of the vendor's documents and bundles it is --root.
_OPTIONS = {
    "report": "--enrolment ENROLMENT",
    "enrolment": "--fingerprint WORDS",
    "request": "--site DIR",
    "answer": "--site DIR",
    "approval": "--site DIR",
}


@dataclass(frozen=True)
class NamedTrust:
    """What the options of a command name to judge by.

    Attributes:
        guessed: No option named a trust anchor: ``site`` is that of the current folder or of the host.
    """

    anchor: TrustAnchor | None = None
    site: "Site | None" = None
    guessed: bool = False

    def guessed_by(self, error: WaybillError) -> "Site | None":
        """Return the guessed site that refused a file, which may be of another vendor or site; else None."""
        return self.site if self.guessed and error.exit_code in (4, 5) else None


def name_other_trust(command: str, file: str, kind: str = "") -> str:
    """Return the command that judges ``file`` by other trust than the site that was guessed."""
    return f"waybill {command} {shlex.quote(file)} {_OPTIONS.get(kind, '--root ROOT')}"


def find_trust(root: Path | None, fingerprint: str | None, given: Path | None) -> NamedTrust:
    """Return the trust anchor of --root or --fingerprint, else that of the site that judges, with the site.

    Raises:
        UsageError: More than one option is given.
    """
    if sum(option is not None for option in (root, fingerprint, given)) > 1:
        raise UsageError("expected one of --root, --fingerprint, --site", where="trust", remedy="leave out the others")
    anchor = named_anchor(root, fingerprint)
    if anchor is not None:
        return NamedTrust(anchor)
    # Imported here: verifying a bundle away from a site loads none of the site's code (docs/audit.md lists what is).
    from verifier.documents.site_view import find_judging_site
    from verifier.site.judging import site_anchor

    site = find_judging_site(given)
    return NamedTrust() if site is None else NamedTrust(site_anchor(site), site, given is None)
