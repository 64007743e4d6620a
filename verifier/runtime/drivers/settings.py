"""Settings of a driver: ``drivers[name]`` of ``site.yaml`` read into a closed shape."""

import os
import shlex
from pathlib import Path
from typing import TypeVar

import msgspec

from manifests.words.errors import HostError, RefusedError
from verifier.runtime.drivers.driver import DriverContext

MAX_SECRET = 64 << 10
T = TypeVar("T")


def read_settings(context: DriverContext, driver: str, type_: type[T]) -> T:
    """Return the driver's settings. Raises RefusedError when a field is unknown, missing, or of another kind."""
    try:
        return msgspec.convert(dict(context.settings), type_)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise settings_error(problem[:1].lower() + problem[1:], f"{driver}{place.rstrip('`')}") from None


def settings_error(problem: str, place: str, remedy: str = "correct this field in site.yaml") -> RefusedError:
    """A driver's settings cannot be used. ``place`` is below ``drivers`` of ``site.yaml``."""
    return RefusedError(problem, where=f"site.yaml $.drivers.{place}", remedy=remedy, finding="driver-settings")


def under_site(context: DriverContext, text: str, where: str) -> Path:
    """Return ``text`` as a path below the site's folder. Raises RefusedError when it is absolute or leaves it."""
    parts = text.split("/")
    if text.startswith("/") or not text or any(part in ("", ".", "..") for part in parts) or "\0" in text:
        raise settings_error(f"found {text!r}, expected a path below the site's folder, without . or ..", where)
    return context.site.joinpath(*parts)


def read_secret(context: DriverContext, reference: str, where: str) -> tuple[Path, bytes]:
    """Return the path behind ``file:PATH``, absolute or below the site's folder, and the bytes of the file.

    Raises:
        RefusedError: Another kind of reference, a file that others can read, or an oversized one.
        HostError: It cannot be read.
    """
    place = f"site.yaml $.drivers.{where}"
    text = reference.removeprefix("file:")
    if not text or text == reference:
        raise RefusedError(
            f"found {reference!r}, expected file:PATH", where=place, remedy="name a file in the site's secrets/ folder"
        )
    path = Path(text) if text.startswith("/") else under_site(context, text, where)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise RefusedError(
                    f"mode {status.st_mode & 0o777:04o} lets others read it, expected 0600",
                    where=str(path),
                    remedy=f"run `chmod 600 {shlex.quote(str(path))}`",
                    finding="secret-readable",
                )
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise HostError(
            f"the secret cannot be read: {(error.strerror or str(error)).lower()}",
            where=str(path),
            remedy=f"check the path at {place}",
        ) from error
    if len(data) > MAX_SECRET:
        raise RefusedError(
            f"the secret has more than {MAX_SECRET} bytes", where=str(path), remedy=f"check the path at {place}"
        )
    return path, data
