"""The site that judges a document."""

import os
from pathlib import Path

from manifests.words.errors import UsageError
from verifier.site.disk import Disk
from verifier.site.folder import Site, find_site, open_site
from verifier.site.host import this_host


def find_judging_site(given: Path | None) -> Site | None:
    """Return the site of --site, WAYBILL_SITE, the current folder or the host; None unless there is exactly one.

    Raises:
        UsageError: --site or WAYBILL_SITE names a folder that is not a site.
    """
    try:
        path = find_site(given, os.environ, Path.cwd())
    except UsageError:
        if given is not None or os.environ.get("WAYBILL_SITE"):
            raise
        return None
    return open_site(path, Disk(), this_host())
