"""What lies beside a document that is to be signed: names of keys, older versions, releases. None of it is verified."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from content.bundle.head import open_head
from content.differences.release_documents import ReleaseDocuments
from content.signing.vendor_keys import VendorKeys, read_vendor_keys, vendor_folder
from manifests.documents.authorisation import MAX_AUTHORISATION, Authorisation, parse_authorisation
from manifests.documents.release import Release, handler_digest
from manifests.documents.release_reader import parse_release
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, Revocations, parse_revocations
from manifests.trust.root import MAX_ROOT, Root, parse_root
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError

MAX_FILES = 64
MAX_LIST_VERSION = 99_999


@dataclass(frozen=True)
class Surroundings:
    """What is known beside a document.

    Attributes:
        key_names: The vendor's names of keys, by id.
        key_options: What `--key` takes for a key, by id, where that is known.
        releases: ``release.json`` of each release that lies there, by its digest.
        list_files: Files of revocation lists, oldest first.
        authorisations: Authorisations, by the name of their file.
        before: File of the root document of the version before.
        base: Bundle that a release is compared with, in words: the newest older one of its product and channel.
    """

    key_names: Mapping[str, str] = field(default_factory=dict)
    key_options: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, bytes] = field(default_factory=dict)
    list_files: tuple[bytes, ...] = ()
    authorisations: Mapping[str, Authorisation] = field(default_factory=dict)
    before: bytes | None = None
    base: ReleaseDocuments | None = None

    @property
    def keys(self) -> VendorKeys:
        return VendorKeys(self.key_names, self.key_options)

    @property
    def lists(self) -> tuple[Revocations, ...]:
        return tuple(parse_revocations(data, "a revocation list beside it")[1] for data in self.list_files)

    @property
    def names(self) -> dict[str, str]:
        """Names of keys, releases and handlers, by id or digest."""
        names = dict(self.key_names)
        for digest, raw in self.releases.items():
            release = parse_release(raw)
            names[digest] = f"{release.product} {release.version}"
            names |= {handler_digest(one): f"{one.name} of {names[digest]}" for one in release.handlers}
        return names


def look_around(file: Path, near: Sequence[Path] = ()) -> Surroundings:
    """Read what lies in the folder of the vendor, at most 64 files of a kind. What cannot be read is left out.

    ``near`` are the files by which `vendor_folder` knows it, ``file`` where there are none.
    """
    folder = vendor_folder(*near or (file,))
    keys = read_vendor_keys(*near or (file,))
    trust = folder / "trust" if (folder / "trust").is_dir() else file.absolute().parent
    return Surroundings(
        key_names=keys.names,
        key_options=keys.options,
        releases=dict(_releases(folder)),
        list_files=tuple(_lists(trust)),
        authorisations=dict(_authorisations(folder)),
    )


def find_base(file: Path, release: Release) -> Path | None:
    """The bundle of the newest older release of the same product and channel in the folder of the bundle ``file``."""
    newest: tuple[Release, Path] | None = None
    for path in islice(sorted(file.absolute().parent.glob("*.tar")), MAX_FILES):
        with suppress(WaybillError):
            other = parse_release(open_head(path).release)
            same = (other.product, other.channel) == (release.product, release.channel) and other.mark < release.mark
            if same and (newest is None or newest[0].mark < other.mark):
                newest = (other, path)
    return newest[1] if newest is not None else None


def root_before(file: Path, root: Root) -> bytes | None:
    """The file of the version before, if it lies beside ``file`` and is the one that ``root`` names."""
    path = file.with_name(f"{root.version - 1}.root.json")
    with suppress(WaybillError):
        return named_before(root, read_capped(path, MAX_ROOT))
    return None


def named_before(root: Root, data: bytes) -> bytes | None:
    """``data`` if it is the root document that ``root`` names as the version before."""
    if root.previous is None or digest_of(data) != root.previous:
        return None
    parse_root(data, "the version before")
    return data


def _releases(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in islice(sorted((*folder.glob("*.tar"), *folder.glob("*/*.tar"))), MAX_FILES):
        with suppress(WaybillError):
            raw = open_head(path).release
            parse_release(raw)
            yield digest_of(raw), raw


def _lists(folder: Path) -> Iterator[bytes]:
    for number in range(1, MAX_LIST_VERSION):
        path = folder / f"{number}.revocations.json"
        if not path.exists():
            return
        with suppress(WaybillError):
            data = read_capped(path, MAX_REVOCATIONS)
            parse_revocations(data, str(path))
            yield data


def _authorisations(folder: Path) -> Iterator[tuple[str, Authorisation]]:
    for path in islice(sorted(folder.glob("*.json")), MAX_FILES):
        with suppress(WaybillError):
            yield path.name, parse_authorisation(read_capped(path, MAX_AUTHORISATION), str(path))[1]
