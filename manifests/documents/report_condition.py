"""What a report says about the condition of the site: its host, its certificates, and what failed there last."""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.words.canonical import Document
from manifests.words.digest import Count, Digest, Integer, Name, Positive, Time, Version, Word

MAX_CERTIFICATES = 64
# So many results of a probe are kept, one letter each.
MAX_RECENT = 16

Synchronised = Literal["yes", "no", "unknown"]
# `unseen`: nothing answered. Whether a certificate that is not trusted has ended is not said by the library.
CertificateVerdict = Literal["good", "not-trusted", "unseen"]
# Why a component is not as released, as far as a driver can tell.
ComponentReason = Literal["unreachable", "login", "certificate", "incomplete", "failing", "stopped"]
# `unchanged`: it ended before anything was changed; `unfinished`: it was cut off or waits for `recover`.
FailureEnd = Literal["unchanged", "unfinished", "rolled-back", "inconsistent"]
MediumProblem = Literal["medium-damaged", "medium-unreadable"]
# Passing, failing, unknown: the last results of one probe, the newest last.
Recent = Annotated[str, Meta(pattern=rf"\A[fpu]{{0,{MAX_RECENT}}}\Z")]


class HostState(Document, frozen=True, kw_only=True):
    """What the host has; sizes in mebibytes, of the file system of the site's folder.

    Attributes:
        inodes_free, inodes_total: Absent where the file system has no table of inodes.
        reserve_mib: Space to be set aside by the settings; ``reserve_spent``: it was used on a full disk.
        clock: Whether the kernel says that a time service keeps the clock right.
    """

    disk_free_mib: Count
    disk_total_mib: Count
    inodes_free: Count | None = None
    inodes_total: Count | None = None
    memory_available_mib: Count
    memory_total_mib: Count
    reserve_mib: Count = 0
    reserve_spent: bool = False
    clock: Synchronised = "unknown"


class ReportedCertificate(Document, frozen=True, kw_only=True):
    """The certificate of an HTTPS endpoint of ``site.yaml``; ``days``: for how long it is good, exactly when it is."""

    endpoint: Name
    verdict: CertificateVerdict
    days: Integer | None = None


class ReportedFailure(Document, frozen=True, kw_only=True):
    """The last install or rollback, if it failed; a later one that succeeds removes it.

    Attributes:
        subject: What was to change: a ``release``, or the configuration of the one that runs.
        generation: The one that was to run; ``release``: its release.
        act, step: What failed, such as ``migrate`` and the name of the migration.
        code: Why, a stable word; ``interrupted`` where it was cut off.
    """

    action: Literal["install", "rollback"]
    subject: Literal["release", "config"]
    generation: Positive
    release: Digest
    version: Version
    act: Word
    step: Name | None = None
    code: Word
    end: FailureEnd


class ReportedMedium(Document, frozen=True, kw_only=True):
    """A bundle that could not be read; removed by the next release that is received."""

    problem: MediumProblem
    at: Time


class VerifierState(Document, frozen=True, kw_only=True):
    """The program at the site, and the host that it runs on.

    Attributes:
        format: The highest bundle format that it reads.
        kit: Digest of the one-file program it runs from; absent when it runs from an installed package.
        host: Absent when the host does not let it look.
        certificates: Sorted by endpoint, each once.
    """

    version: Version
    format: Positive
    kit: Digest | None = None
    host: HostState | None = None
    certificates: Annotated[tuple[ReportedCertificate, ...], Meta(max_length=MAX_CERTIFICATES)] = ()
