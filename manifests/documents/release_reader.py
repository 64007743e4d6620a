"""Parse ``release.json`` and check it against itself."""

from weakref import WeakValueDictionary

from msgspec.structs import force_setattr

from manifests.documents.contract import check_values
from manifests.documents.host_needs import host_contradictions
from manifests.documents.release import MAX_RELEASE, Release, WrongRelease, referenced
from manifests.words.canonical import parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError
from manifests.words.time import parse_time
from manifests.words.version import parse_range, parse_version

# Lists of a release, and the field by which no two entries may be equal.
NAMED_ONCE = (
    *(("images", "name"), ("files", "name"), ("charts", "name"), ("programs", "name")),
    *(("handlers", "name"), ("install", "step"), ("probes", "name")),
)


# Releases in memory by digest: the same bytes, read again while somebody holds the release, are one object.
_IN_MEMORY: WeakValueDictionary[str, Release] = WeakValueDictionary()


def parse_release(data: bytes, what: str = "release.json") -> Release:
    """Read ``release.json``, which must be trusted already. Raises MalformedError where it contradicts itself."""
    digest = digest_of(data)
    if (release := _IN_MEMORY.get(digest)) is None:
        release = parse(data, Release, what, max_bytes=MAX_RELEASE)  # F-8.1
        check_release(release, what)
        _share_digests(release)
        _IN_MEMORY[digest] = release
    return release


def _share_digests(release: Release) -> None:
    """Memory: a file that is a member has the digest of the member, not one of its own that is equal."""
    members = {member.digest: member for member in release.members} if release.files else {}
    for files in release.files:
        for entry in files.entries:
            force_setattr(entry, "digest", members[entry.digest].digest)
            force_setattr(entry, "size", members[entry.digest].size)


def check_release(release: Release, what: str) -> None:
    """Every rule that ties one part of ``release.json`` to another."""

    def refuse(problem: str, place: str) -> MalformedError:
        return MalformedError(problem, where=f"{what} $.{place}")

    parse_version(release.version, f"{what} $.version")  # F-8.11
    for i, version_range in enumerate(release.needs.from_):
        parse_range(version_range, f"{what} $.needs.from[{i}]")
    named = [bool(release.audience.customers), bool(release.audience.environments)]
    if named != [not release.audience.everyone] * 2:  # F-8.3
        raise refuse("either `everyone`, or customers and environments", "audience")
    _check_times(release, refuse)
    if release.floor > release.sequence:  # F-8.4
        raise refuse(f"floor {release.floor} is above the release's own sequence {release.sequence}", "floor")
    if not release.needs.fresh and not release.needs.from_:  # F-8.5
        raise refuse("nothing may go to this release: neither `fresh` nor a range in `from`", "needs")
    for check in _CHECKS:
        check(release, refuse)


def _check_members(release: Release, refuse: WrongRelease) -> None:
    sizes = {one.digest: one.size for one in release.members[2:]}
    if len(sizes) != len(release.members) - 2:  # F-8.12
        raise refuse("a digest is listed twice", "members")
    for place, blob in referenced(release):
        if sizes.get(blob.digest) != blob.size:  # F-8.13
            raise refuse(f"{blob.digest} of {blob.size} bytes is not among the members", place)


def _check_times(release: Release, refuse: WrongRelease) -> None:
    for place in ("issued_at", "next_expected_by", "supported_until"):
        if getattr(release, place) is not None:
            parse_time(getattr(release, place), refuse("", place).where)  # F-8.2


def _check_names(release: Release, refuse: WrongRelease) -> None:
    for group, key in NAMED_ONCE:
        names = [getattr(entry, key) for entry in getattr(release, group)]
        if len(set(names)) != len(names):  # F-8.14
            raise refuse("a name is given twice", group)
    places = [image.at(release.version) for image in release.images]
    if len(set(places)) != len(places):  # F-8.14
        raise refuse("a name is given twice", "images to")
    children = [(child.parent, child.digest) for child in release.absent]
    if len(set(children)) != len(children):  # F-8.14
        raise refuse("a child of an index is listed twice", "absent")
    for i, child in enumerate(release.absent):
        if (child.platform is None) == (child.url is None):  # F-8.21
            raise refuse("either a platform, or the url of a layer", f"absent[{i}]")


def _check_images(release: Release, refuse: WrongRelease) -> None:
    for i, image in enumerate(release.images):
        if image.signed_by != "none" and image.signed_by not in release.signers:  # F-8.15
            raise refuse(f"signer {image.signed_by!r} is not among the signers", f"images[{i}].signed_by")
        if image.signed_by == "none" and not image.reason:
            raise refuse("an image that nobody signed needs a reason", f"images[{i}].reason")
        if bool(image.sboms) == bool(image.sbom_reason):  # F-8.15
            raise refuse("an image has an SBOM, or a reason why not", f"images[{i}].sboms")


def _check_signers(release: Release, refuse: WrongRelease) -> None:
    if "none" in release.signers:  # F-8.16
        raise refuse("`none` says that nobody signed, it cannot name a signer", "signers")
    for name, signer in release.signers.items():
        by_identity = signer.identity is not None and signer.issuer is not None
        if (signer.key is not None) == by_identity or (signer.identity is None) != (signer.issuer is None):  # F-8.16
            raise refuse("either a key, or identity and issuer", f"signers.{name}")
    identities = any(signer.key is None for signer in release.signers.values())
    if identities > (release.sigstore is not None) or (release.sigstore is not None and not release.signers):  # F-8.6
        raise refuse("signers that are identities need a trusted root, and without signers there is none", "sigstore")


def _check_files(release: Release, refuse: WrongRelease) -> None:
    for i, files in enumerate(release.files):
        paths = [entry.path for entry in files.entries]
        if paths != sorted(set(paths)):  # F-8.7
            raise refuse("entries are not sorted by path, each once", f"files[{i}].entries")
        folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
        if folders & set(paths):  # F-8.7
            raise refuse("a path is both a file and a folder", f"files[{i}].entries")


def _check_references(release: Release, refuse: WrongRelease) -> None:
    """Each text that names an image is there once, in order, and the image is in the release."""
    images = {image.name for image in release.images}
    parts = {f"files[{i}]": files.references for i, files in enumerate(release.files)}
    parts |= {f"charts[{i}]": chart.references for i, chart in enumerate(release.charts)}
    for place, references in parts.items():
        texts = [reference.reference for reference in references]
        if texts != sorted(set(texts)):  # F-8.23
            raise refuse("references are not sorted, each once", f"{place}.references")
        if missing := {reference.image for reference in references} - images:  # F-8.23
            raise refuse(f"{', '.join(sorted(missing))} is not among the images", f"{place}.references")


def _check_handlers(release: Release, refuse: WrongRelease) -> None:
    programs = {program.name for program in release.programs}
    for i, handler in enumerate(release.handlers):
        if handler.run[0] not in programs:  # F-8.8
            raise refuse(f"{handler.run[0]!r} is not a program of this release", f"handlers[{i}].run")
        for name, values in handler.parameters.items():
            check_values(values, refuse("", f"handlers[{i}].parameters.{name}").where, name)
        for word in handler.run[1:]:
            if word.startswith("{") and word.endswith("}") and word[1:-1] not in handler.parameters:
                raise refuse(f"{word} is not a parameter", f"handlers[{i}].run")


def _check_steps(release: Release, refuse: WrongRelease) -> None:
    """Steps come after the steps that they name, and name things that the release has."""
    names = {"files": {files.name for files in release.files}, "images": {image.name for image in release.images}}
    charts = {chart.name for chart in release.charts}
    earlier: set[str] = set()
    for i, step in enumerate(release.install):
        for field_, known in names.items():
            missing = set(getattr(step, field_)) - known
            if missing:
                raise refuse(f"{', '.join(sorted(missing))} is not among the {field_}", f"install[{i}].{field_}")
        if step.chart is not None and step.chart not in charts:
            raise refuse(f"{step.chart!r} is not among the charts", f"install[{i}].chart")
        if not set(step.after) <= earlier:  # F-8.9
            raise refuse("`after` names a step that does not come before this one", f"install[{i}].after")
        earlier.add(step.step)


def _check_probes(release: Release, refuse: WrongRelease) -> None:
    steps = {step.step for step in release.install}
    files = {(files.name, entry.path) for files in release.files for entry in files.entries}
    for i, probe in enumerate(release.probes):
        if sum(kind is not None for kind in (probe.http, probe.tcp, probe.file, probe.step)) != 1:  # F-8.10
            raise refuse("a probe is exactly one of http, tcp, file, step", f"probes[{i}]")
        if probe.step is not None and probe.step not in steps:
            raise refuse(f"{probe.step!r} is not a step", f"probes[{i}].step")
        if probe.file is not None and (probe.file.files, probe.file.path) not in files:
            raise refuse("no such file in the release", f"probes[{i}].file")


def _check_host(release: Release, refuse: WrongRelease) -> None:
    for problem, place in host_contradictions(release.host) if release.host is not None else ():
        raise refuse(problem, f"host{place}")  # F-8.22


# Each check is one group of rules of docs/format.md; they are run in this order, and the first that fails is reported.
_CHECKS = (
    _check_members,
    _check_names,
    _check_images,
    _check_signers,
    _check_files,
    _check_references,
    _check_handlers,
    _check_steps,
    _check_probes,
    _check_host,
)
