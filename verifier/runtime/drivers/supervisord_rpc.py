"""Calls of supervisord over its unix socket."""

import http.client
import os
import socket
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path
from xml.parsers.expat import ExpatError

from manifests.words.errors import HostError
from verifier.runtime.drivers.service import STOP_SECONDS

RPC_SECONDS = STOP_SECONDS + 20.0
# What a call may raise when the daemon does not answer as supervisord does.
ODD = (http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError)
# Fault codes (supervisor.xmlrpc.Faults).
BAD_NAME, NOT_RUNNING, ALREADY_ADDED, ALREADY_STARTED = 10, 70, 90, 60


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(os.fspath(self._path))


class _Transport(xmlrpc.client.Transport):
    """A transport with one connection, which `call` closes."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self.connection = _Connection(path, seconds)

    def make_connection(self, host: object) -> _Connection:
        return self.connection


def call(path: Path, method: str, *arguments: object, seconds: float = RPC_SECONDS) -> object:
    """Call a method of supervisord. Faults and errors of the socket are raised as they are."""
    transport = _Transport(path, seconds)
    try:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        return getattr(proxy.supervisor, method)(*arguments)
    finally:
        transport.connection.close()


def call_ignoring(path: Path, ignored: Sequence[int], method: str, *arguments: object) -> object:
    """Call a method; return None for a fault in ``ignored``, which says that there is nothing to do.

    Raises:
        HostError: Any other fault, or an answer that is none.
    """
    try:
        return call(path, method, *arguments)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode in ignored:
            return None
        raise HostError(
            f"supervisord refused {method}: {fault.faultString[:200]}",
            where=" ".join(map(str, arguments)),
            remedy="read logs/supervisord.log of the site",
            finding="keeper-failed",
        ) from None
    except ODD as error:
        raise HostError(
            f"supervisord answered oddly to {method}: {str(error)[:200]}",
            where=str(path),
            remedy="read logs/supervisord.log of the site",
            finding="keeper-failed",
        ) from None
