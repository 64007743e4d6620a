"""Looks at a TCP port: whether something else than this site's own services listens there (proc(5), net/tcp)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from verifier.runtime.drivers.processes import processes_of
from verifier.runtime.preflight.result import Observation, unseen

LISTENS = "0A"


def look_at_port(port: int, site: Path, proc: Path = Path("/proc")) -> Observation:
    """Return whether the port is free for this site on every address of this host. Opens no socket.

    A service of this site that runs already may listen there: the new release takes its place.

    Raises:
        OSError: The host does not show its sockets.
    """
    sockets = set(_listening(port, proc))
    if not sockets:
        return Observation(met=True, text="nothing listens there")
    own = {process.pid for process in processes_of(str(site))}
    owners = dict(_owners(sockets, proc))
    others = {inode: owners.get(inode) for inode in sockets if owners.get(inode) not in own}
    if not others:
        return Observation(met=True, text="a service of this site listens there")
    remedy = f"end it, or let it use another port than {port}"
    pid = next((pid for pid in others.values() if pid is not None), None)
    if pid is None:
        return unseen("a process of another account listens there; it may be a service of this site", remedy)
    return Observation(met=False, text=f"process {pid} ({_name(pid, proc)}) listens there", remedy=remedy)


def _listening(port: int, proc: Path) -> Iterator[str]:
    """Yield the inode of every socket that listens on the port, over IPv4 and IPv6."""
    for name in ("tcp", "tcp6"):
        path = proc / "net" / name
        # A kernel without IPv6 has no such file.
        if name == "tcp6" and not path.exists():
            continue
        for line in path.read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _owners(inodes: set[str], proc: Path) -> Iterator[tuple[str, int]]:
    """Yield inode and process of each of these sockets, as far as this account may see it."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        # The process has ended, closed the file, or belongs to another account.
        with suppress(OSError):
            for descriptor in (entry / "fd").iterdir():
                with suppress(OSError):
                    if (name := str(descriptor.readlink())) in wanted:
                        yield wanted[name], int(entry.name)


def _name(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "ended meanwhile"
