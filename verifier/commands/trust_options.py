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
        no_site: Why no site was asked, where WAYBILL_SITE names none.
    """

    anchor: TrustAnchor | None = None
    site: "Site | None" = None
    guessed: bool = False
    no_site: str = ""

    def guessed_by(self, error: WaybillError) -> "Site | None":
        """Return the guessed site that refused a file, which may be of another vendor or site; else None."""
        return self.site if self.guessed and error.exit_code in (4, 5) else None

    def advise(self, error: WaybillError) -> WaybillError:
        """Return ``error``; at a site that ended its vendor's access, with that as the reason."""
        if self.site is None:
            return error
        from verifier.site.vendor_access import without_root

        return without_root(self.site.state, error)


def name_other_trust(command: str, file: str, kind: str = "") -> str:
    """Return the command that judges ``file`` by other trust than the site that was guessed."""
    return f"waybill {command} {shlex.quote(file)} {_OPTIONS.get(kind, '--root ROOT')}"


def find_trust(
    root: Path | None, fingerprint: str | None, given: Path | None, *, needs_site: bool = True
) -> NamedTrust:
    """Return the trust anchor of --root or --fingerprint, else that of the site that judges, with the site.

    Args:
        needs_site: Whether a WAYBILL_SITE that names no site is refused; else there is no trust anchor then.

    Raises:
        UsageError: More than one option is given, or --site names no site.
    """
    if sum(option is not None for option in (root, fingerprint, given)) > 1:
        raise UsageError("expected one of --root, --fingerprint, --site", where="trust", remedy="leave out the others")
    anchor = named_anchor(root, fingerprint)
    if anchor is not None:
        return NamedTrust(anchor)
    # Imported here: verifying a bundle away from a site loads none of the site's code (docs/audit.md lists what is).
    from verifier.documents.site_view import find_judging_site
    from verifier.site.judging import site_anchor

    try:
        site = find_judging_site(given)
    except UsageError as error:
        if needs_site or given is not None:
            raise
        return NamedTrust(no_site=f"no site was asked: {error.where}: {error.problem}")
    return NamedTrust() if site is None else NamedTrust(site_anchor(site), site, given is None)
