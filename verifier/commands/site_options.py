"""Options of commands that work on a site, and how a command opens one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console.options import path_option
from console.output import QUIET, is_set
from manifests.words.errors import UntrustedError, WaybillError
from verifier.site.disk import Disk
from verifier.site.folder import Site, find_site, open_site, open_site_to_show
from verifier.site.host import this_host
from verifier.site.lock import check_unaltered, hold_site
from verifier.site.vendor_access import without_vendor

site_option = path_option("--site", "place", metavar="DIR", help="Site directory.")


def _find(place: Path | None) -> Path:
    return find_site(place, os.environ, Path.cwd())


def open_here(place: Path | None) -> Site:
    """Open a site to read from it what people rely on. Raises UntrustedError for a journal that was written anew."""
    site = open_site(_find(place), Disk(), this_host())
    check_unaltered(site)
    return site


def look_here(place: Path | None, *, checkpoint: bool = False) -> Site:
    """Open a site to show it; if its journal is broken, up to the break. See ``open_site_to_show``."""
    return open_site_to_show(_find(place), Disk(), this_host(), checkpoint=checkpoint)


def distrust(site: Site) -> UntrustedError | None:
    """Return why the journal of a site that is only shown proves nothing: broken, or written anew; None otherwise."""
    if site.broken is not None:
        return site.broken
    try:
        check_unaltered(site)
    except UntrustedError as error:
        return error
    return None


@contextmanager
def hold_here(place: Path | None, command: str, *, any_key: bool = False) -> Iterator[Site]:
    """Hold the site until the block ends; see ``hold_site``. An error of the block advises what this site can do."""
    with hold_site(_find(place), Disk(), this_host(), command, any_key=any_key) as site:
        try:
            yield site
        except WaybillError as error:
            advised = without_vendor(site.state, error)
            if advised is error:
                raise
            raise advised from None


def at_terminal() -> bool:
    """Whether a person can be asked; never with --json or --quiet."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not is_set(QUIET)
