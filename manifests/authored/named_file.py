"""Read a file that a vendor or operator keeps by hand: a pipe or a device in its place is the wrong file."""

import os
from pathlib import Path

from manifests.trust.keys import open_regular, read_capped
from manifests.words.errors import HostError, MalformedError, unreadable


def read_named_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file. A pipe that the shell made for this command is read too.

    Raises:
        MalformedError: A named pipe or a device, which is not opened for longer than to know that; or too long.
        HostError: It is missing, or may not be read.
    """
    try:
        _refuse_socket(path)
        return read_capped(path, max_bytes)
    except HostError as error:
        raise _as_wrong_file(error) from None


def open_named_file(path: Path) -> int:
    """A read-only descriptor, which the caller closes. Raises as `read_named_file`; refuses a pipe of the shell too."""
    _refuse_socket(path)
    if path.is_dir():
        raise MalformedError("a folder, not a file", where=str(path), remedy="name the file", finding="not-a-file")
    try:
        return open_regular(path)
    except HostError as error:
        raise _as_wrong_file(error) from None
    except OSError as error:
        raise unreadable(error, str(path)) from None


def check_named_file(path: Path) -> None:
    """Raise as `read_named_file`, without reading the bytes."""
    _refuse_socket(path)
    try:
        os.close(open_regular(path, or_pipe=True))
    except HostError as error:
        raise _as_wrong_file(error) from None
    except OSError as error:
        raise unreadable(error, str(path)) from None


def _refuse_socket(path: Path) -> None:
    """Raise MalformedError for a socket, which the system does not open at all."""
    if path.is_socket():
        remedy = "copy its content to a file and name that"
        raise MalformedError("a socket, not a file", where=str(path), remedy=remedy, finding="not-a-file")


def _as_wrong_file(error: HostError) -> HostError | MalformedError:
    if error.finding != "not-a-file":
        return error
    return MalformedError(error.problem, where=error.where, remedy=error.remedy, finding=error.finding)
