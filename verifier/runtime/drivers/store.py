"""The ``store`` driver: the generation's images as an OCI layout inside the site, for any tool that reads one.

``oci/index.json`` lists what the visible generation has and nothing else. Its blobs are links into the site's store,
so a tool that cleans up the layout removes links and not the store.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from content.bundle.oci import MAX_MANIFEST_BYTES, REF_NAME, Descriptor, ImageIndex, parse_oci
from content.bundle.oci_writer import encode_index
from manifests.authored.site_yaml import StoreDriverFile
from manifests.documents.release import InstallStep
from manifests.documents.report_condition import ComponentReason
from manifests.words.digest import Blob, blob_name
from manifests.words.errors import DamagedError, MalformedError, RefusedError, WaybillError
from verifier.runtime.drivers.driver import (
    ABSENT,
    UNREADABLE,
    Component,
    DriverContext,
    DriverPlan,
    read_settings,
    under_site,
)
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.drivers.images import (
    ImageParts,
    blobs_of_parts,
    check_step,
    foreign_lines,
    image_parts,
    mend_images,
)
from verifier.runtime.setup import SetupFinding
from verifier.site.blobs import blob_path, check_blob, check_blobs, check_size, is_whole, read_blob

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
# On each entry of our index.json: which generation and which of its steps put it there.
GENERATION = "vnd.waybill.generation"
STEPS = "vnd.waybill.steps"
MAX_INDEX = 16 << 20


class StoreDriver:
    name = "store"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        check_step(step, self.name)
        folder = _folder(context)
        images = [context.release.image(name) for name in step.images]
        names = [image.at(context.release.version) for image in images]
        missing = foreign_lines(
            step, context.release, "the layout does not have them: the runtime that reads it must reach these addresses"
        )
        # The index is written again beside the old one; blobs are links and take no bytes.
        return DriverPlan(
            step=step,
            bytes_needed=64 << 10,
            inodes_needed=8,
            staging=(*(f"link the blobs of {name} into the OCI layout {folder}" for name in names), *missing),
            activation=tuple(f"list {name} in the OCI layout {folder}" for name in names),
            deactivation=tuple(f"take {name} off the list of the OCI layout {folder}" for name in names),
        )

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        """Return nothing: the store needs nothing but space."""
        return ()

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Hash every blob of the step again, and link it into the layout; index.json does not list it yet."""
        blobs = blobs_of_parts(image_parts(context, plan.step))
        check_blobs(context.blobs, blobs)
        with host_errors(_folder(context)):
            _link(context, blobs)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        parts = image_parts(context, plan.step)
        blobs = blobs_of_parts(parts)
        for blob in blobs:
            check_size(context.blobs, blob)
        generation = str(context.generation)
        with host_errors(_folder(context)):
            _link(context, blobs)
            # Entries of other generations go: only this one is visible from now on.
            entries = _readable_entries(_folder(context))
            kept = [entry for entry in entries if entry.annotation(GENERATION) == generation]
            _write_index(
                context, _merge(_without(kept, plan.step.step), _entries_of_step(parts, generation, plan.step.step))
            )
            _remove_unused_links(context)

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        entries = _readable_entries(_folder(context))
        generation = str(context.generation)
        own = [entry for entry in entries if entry.annotation(GENERATION) == generation]
        others = [entry for entry in entries if entry.annotation(GENERATION) != generation]
        kept = [*others, *_without(own, plan.step.step)]
        if kept != entries:
            with host_errors(_folder(context)):
                _write_index(context, kept)
                _remove_unused_links(context)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        """Compare what index.json lists with the release, and check every blob below it."""
        listed: dict[str, list[str]] = {}
        parts: dict[str, ImageParts] = {}
        problem, remedy = None, ""
        try:
            for entry in _entries(_folder(context)):
                if name := entry.annotation(REF_NAME):
                    listed.setdefault(name, []).append(entry.digest)
            parts = {part.image.name: part for part in image_parts(context, plan.step)}
        except (WaybillError, OSError) as error:
            problem, remedy = str(error), error.remedy if isinstance(error, WaybillError) else ""
        components = []
        for name in plan.step.images:
            image = context.release.image(name)
            observed, detail = UNREADABLE, problem
            if problem is None:
                digests = listed.get(image.at(context.release.version), [])
                observed, detail, remedy = _observe_image(context, parts[name], digests)
            expected, step = image.manifest.digest, plan.step.step
            reason: ComponentReason | None = "incomplete" if problem is None and observed == UNREADABLE else None
            components.append(Component(name, expected, observed, step, detail=detail, remedy=remedy, reason=reason))
        return tuple(components)

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove links that index.json does not lead to; those of the visible generation stay."""
        with host_errors(_folder(context)):
            _remove_unused_links(context)


def _folder(context: DriverContext) -> Path:
    settings = read_settings(context, "store", StoreDriverFile)
    return under_site(context, settings.folder, "store.folder")


def _link(context: DriverContext, blobs: Iterable[Blob]) -> None:
    """Link every blob and write the layout's own files, unless they exist. OSError EXDEV on another file system."""
    folder, disk = _folder(context), context.disk
    target = folder / "blobs" / "sha256"
    # The layout is for tools of any account, so its modes do not depend on the umask.
    disk.make_folder(target, exact=True)
    linked = False
    for blob in blobs:
        path, source = folder / blob_name(blob.digest), blob_path(context.blobs, blob.digest)
        if not (path.exists() and path.samefile(source)):
            disk.link(source, path)
            linked = True
        disk.set_mode(path, 0o444)
    if linked:
        disk.sync_folder(target)
    if not (folder / "oci-layout").exists():
        disk.write(folder / "oci-layout", LAYOUT, exact=True)
    if not (folder / "index.json").exists():
        disk.write(folder / "index.json", encode_index(()), exact=True)


def _entries(folder: Path) -> list[Descriptor]:
    """Return what index.json lists, nothing without that file. Raises DamagedError when it is no image index."""
    path, remedy = folder / "index.json", "remove the file, then run `waybill recover`, which writes it again"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INDEX + 1)
    except FileNotFoundError:
        return []
    try:
        document = parse_oci(data)
    except MalformedError as error:
        raise DamagedError(str(error), where=str(path), remedy=remedy) from error
    if not isinstance(document, ImageIndex):
        raise DamagedError("the file is not an image index", where=str(path), remedy=remedy)
    return list(document.manifests)


def _readable_entries(folder: Path) -> list[Descriptor]:
    """Return what index.json lists; nothing where it is damaged, because the caller writes it again."""
    try:
        return _entries(folder)
    except DamagedError:
        return []


def _entries_of_step(parts: Iterable[ImageParts], generation: str, step: str) -> list[Descriptor]:
    """Return the entries of one step: each image under its name, its cosign tags, its referrers without a name."""
    entries = []
    for part in parts:
        named = {REF_NAME: part.image.at(part.version)}
        entries.append(_entry(part.top.descriptor, named, generation, step))
        for tag, node in part.cosign:
            entries.append(_entry(node.descriptor, {REF_NAME: f"{part.image.to}:{tag}"}, generation, step))
        for node in part.referrers:
            artifact = replace(node.descriptor, artifact_type=node.document.referrer_type)
            entries.append(_entry(artifact, {}, generation, step))
    return entries


def _entry(descriptor: Descriptor, names: dict[str, str], generation: str, step: str) -> Descriptor:
    kept = {key: value for key, value in descriptor.annotations if key != REF_NAME}
    marks = {GENERATION: generation, STEPS: step}
    return replace(descriptor, annotations=tuple(sorted((kept | names | marks).items())))


def _without(entries: Iterable[Descriptor], step: str) -> list[Descriptor]:
    """Return the entries without those of ``step``; one that another step shares stays for that one."""
    kept = []
    for entry in entries:
        steps = [other for other in entry.annotation(STEPS).split(",") if other != step]
        if steps != [""] and steps:
            kept.append(_annotated(entry, STEPS, ",".join(steps)))
    return kept


def _merge(kept: Iterable[Descriptor], added: Iterable[Descriptor]) -> list[Descriptor]:
    """Return both, in a fixed order; what two steps list is listed once, for both."""
    merged: dict[tuple[str, str], Descriptor] = {}
    for entry in (*kept, *added):
        key = (entry.annotation(REF_NAME), entry.digest)
        steps = {*entry.annotation(STEPS).split(","), *merged.get(key, entry).annotation(STEPS).split(",")}
        merged[key] = _annotated(entry, STEPS, ",".join(sorted(steps)))
    return [merged[key] for key in sorted(merged)]


def _annotated(entry: Descriptor, key: str, value: str) -> Descriptor:
    return replace(entry, annotations=tuple(sorted((dict(entry.annotations) | {key: value}).items())))


def _write_index(context: DriverContext, entries: Iterable[Descriptor]) -> None:
    data = encode_index(entries)
    if len(data) > MAX_INDEX:
        raise RefusedError(
            f"the layout's index has {len(data)} bytes, the limit is {MAX_INDEX}",
            remedy="ask the vendor for a release with fewer images",
        )
    context.disk.write(_folder(context) / "index.json", data, exact=True)


def _remove_unused_links(context: DriverContext) -> None:
    """Remove links to blobs that index.json does not lead to. The store itself is not changed."""
    folder = _folder(context)
    target = folder / "blobs" / "sha256"
    if not target.is_dir():
        return
    needed = {blob_path(target, digest).name for digest in _reachable_digests(folder)}
    for path in sorted(target.iterdir()):
        if path.name not in needed:
            context.disk.remove(path)


def _reachable_digests(folder: Path) -> set[str]:
    """Return the digests of everything that index.json leads to. Raises DamagedError; then no link may be removed."""
    target = folder / "blobs" / "sha256"
    queue = [entry.digest for entry in _entries(folder)]
    reached: set[str] = set()
    while queue:
        digest = queue.pop()
        if digest in reached or not blob_path(target, digest).exists():
            continue
        reached.add(digest)
        document = parse_oci(read_blob(target, digest, MAX_MANIFEST_BYTES))
        if isinstance(document, ImageIndex):
            queue += [child.digest for child in document.manifests]
        else:
            reached |= {child.digest for child in document.children}
    return reached


def _observe_image(context: DriverContext, part: ImageParts, listed: list[str]) -> tuple[str, str | None, str]:
    """Return the digest under the image's name if everything below it is there; else what is wrong, and the remedy."""
    folder = _folder(context)
    if not listed:
        return ABSENT, "index.json does not list it", ""
    if len(listed) > 1:
        return UNREADABLE, f"index.json lists it {len(listed)} times", ""
    if listed[0] != part.image.manifest.digest:
        return listed[0], None, ""
    target = folder / "blobs" / "sha256"
    documents = {node.descriptor.digest for node in part.documents}
    for blob in blobs_of_parts((part,)):
        try:
            if context.thorough or blob.digest in documents:
                check_blob(target, blob)
            else:
                check_size(target, blob)
        except WaybillError as error:
            return UNREADABLE, str(error), "" if is_whole(context.blobs, blob) else mend_images(context.release)
    return listed[0], None, ""
