"""Tags that the driver sets in the site's registry: a record of each generation's tags, and taking tags away again."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from content.bundle.oci import OCI_MANIFEST
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_manifest
from manifests.documents.release import InstallStep
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, digest_of
from manifests.words.errors import HostError, MalformedError
from verifier.runtime.drivers.driver import DriverContext
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.drivers.registry_client import UNREACHABLE, SiteRegistry
from verifier.site.blobs import unreadable

WITHDRAWN = "application/vnd.waybill.withdrawn.v1"
MAX_RECORD = 16 << 20


class Tag(Document, frozen=True, kw_only=True):
    """A tag that a generation sets. Attributes: digests: of ours, those that it then names or may have named."""

    repository: str
    tag: str
    digests: tuple[Digest, ...]


class TagRecord(Document, frozen=True, kw_only=True):
    """``run/registry/<step>.<generation>.json``: which tags a generation may have set, written before it sets them."""

    endpoint: str
    tags: tuple[Tag, ...]


def record_path(context: DriverContext, step: InstallStep) -> Path:
    """Return where the record of this context's generation is."""
    return context.site / "run" / "registry" / f"{step.step}.{context.generation}.json"


def write_record(context: DriverContext, step: InstallStep, record: TagRecord) -> None:
    path = record_path(context, step)
    with host_errors(path):
        context.disk.make_folder(path.parent)
        context.disk.write(path, encode(record))


def read_record(path: Path, endpoint: str) -> TagRecord | None:
    """Return a record; None where there is none that can be read, or one of another registry."""
    try:
        record = parse(path.read_bytes(), TagRecord, str(path), max_bytes=MAX_RECORD)
    except (FileNotFoundError, MalformedError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    return record if record.endpoint == endpoint else None


def later_records(context: DriverContext, step: InstallStep, endpoint: str) -> Iterator[tuple[Path, TagRecord]]:
    """Yield the records of later generations: a rollback left them for this one, so their tags have to go."""
    for path in sorted(record_path(context, step).parent.glob(f"{step.step}.*.json")):
        number = path.name.removeprefix(f"{step.step}.").removesuffix(".json")
        if number.isdecimal() and int(number) > context.generation:
            record = read_record(path, endpoint)
            if record is not None:
                yield path, record


def remove_record(context: DriverContext, path: Path) -> None:
    with host_errors(path):
        context.disk.remove(path)


def withdraw_tags(registry: SiteRegistry, tags: Iterable[Tag]) -> bool:
    """Take every tag away; return whether none of them names an image of ours any more."""
    withdrawn = [_withdraw(registry, tag) for tag in tags]
    return all(withdrawn)


def _withdraw(registry: SiteRegistry, tag: Tag) -> bool:
    """1. Is it still ours? 2. delete the tag; 3. where that does nothing, move it to a marker and delete the marker.

    Many registries delete by digest only, and then every tag of that digest goes. An image may have another tag that
    stays good, so the tag is first moved to a document that nothing else names.
    """
    if not names_ours(registry, tag):  # 1
        return True
    registry.remove(tag.repository, tag.tag)  # 2
    if not names_ours(registry, tag):
        return True
    # Nothing that a runtime could start, and another one for each tag.
    annotations = {"vnd.waybill.withdrawn": f"{tag.repository}:{tag.tag}"}
    marker = encode_manifest(EMPTY, (EMPTY,), artifact_type=WITHDRAWN, annotations=annotations.items())  # 3
    try:
        registry.push_blob(tag.repository, EMPTY.digest, EMPTY.size, lambda: iter((EMPTY_BYTES,)))
        registry.push_manifest(tag.repository, tag.tag, marker, OCI_MANIFEST)
    except HostError as error:
        if error.finding == UNREACHABLE:
            raise
        # The registry takes no marker. The tag stays, the record too, and `observe` reports it.
        return False
    registry.remove(tag.repository, digest_of(marker))
    return not names_ours(registry, tag)


def names_ours(registry: SiteRegistry, tag: Tag) -> bool:
    data = registry.read(tag.repository, tag.tag)
    return data is not None and digest_of(data) in tag.digests
