"""Differences between two releases, part by part. Pure; `review` and `compare` both show them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from content.differences.compare_values import Difference, compare_facts, compare_items, show_values
from content.differences.config import config_differences, leaves
from content.differences.documents import contract_differences
from content.differences.release_documents import ReleaseDocuments, incomparable_images, incomparable_parts
from manifests.documents.handler_catalogue import BUILT_IN
from manifests.documents.release import Handler, Image, InstallStep, Probe, Release
from manifests.documents.rollback import Rollback
from manifests.foreign.sbom import SbomComponent
from manifests.words.text import argv
from manifests.words.units import show_count, show_duration, show_size


@dataclass(frozen=True)
class Advisories:
    """Advisories that a change fixes, each with its severity, and those that it reopens."""

    fixed: tuple[tuple[str, str], ...]
    reopened: tuple[str, ...]


def release_differences(old: ReleaseDocuments | None, new: ReleaseDocuments) -> tuple[Difference, ...]:
    """Return every difference in the order of ``PARTS``; ``old`` is None before the first install.

    A part of which one side cannot be read has no differences: it is not compared as if it were empty.
    """
    before, after = (old.release if old else None), new.release

    def items(part: str, facts: Callable[..., Mapping[str, str]], key: str = "name") -> Iterator[Difference]:
        left, right = (
            {getattr(thing, key): facts(thing, side) for thing in getattr(side, part, ())} for side in (before, after)
        )
        return compare_items("steps" if part == "install" else part, left, right)

    schemas = (old.schema if old else None, new.schema)
    lost, images = incomparable_parts(old, new), incomparable_images(old, new)
    if "schema" in lost:
        # Which values of the config are secret, only the schema says.
        lost |= {"config"}
    was, now = (
        {name: parts for name, parts in side.components.items() if name not in images} if side else {}
        for side in (old, new)
    )
    differences = tuple(
        chain(
            compare_facts("release", _facts(before), _facts(after)),
            _advisories(old, new),
            items("images", _image_facts),
            component_differences(was, now),
            items("charts", _digests),
            items("programs", _digests),
            compare_facts("files", _files(before), _files(after)),
            compare_facts("schema", _schema(old), _schema(new)),
            config_differences(old.config if old else None, new.config, schemas),
            config_differences(old.settings if old else None, new.settings, (None, None), part="settings"),
            contract_differences(old.contract if old else None, new.contract),
            items("handlers", handler_facts),
            items("install", _step_facts, "step"),
            items("probes", probe_facts),
            compare_facts("host", host_facts(before), host_facts(after)),
            compare_facts("rollback", _rollback(old.rollback if old else None), _rollback(new.rollback)),
        )
    )
    return tuple(difference for difference in differences if difference.part not in lost)


def _facts(release: Release | None) -> dict[str, str]:
    if release is None:
        return {}
    facts = ("product", "version", "channel", "epoch", "sequence", "floor", "issued_at", "supported_until")
    stated = {
        name.replace("_", " "): str(getattr(release, name)) for name in facts if getattr(release, name) is not None
    }
    if elsewhere := sorted({child.url for child in release.absent if child.url is not None}):
        stated["foreign layers at"] = ", ".join(elsewhere)
    audience = release.audience
    to = "everyone" if audience.everyone else f"{' '.join(audience.customers)} in {' '.join(audience.environments)}"
    return {
        **stated,
        "audience": to,
        "from": " or ".join((*release.needs.from_, *(["nothing"] if release.needs.fresh else []))),
        "verifier": release.needs.verifier,
        "trust root": str(release.needs.trust_root),
        "trial": f"{show_duration(release.trial.at_most_seconds)}, ended by {release.trial.confirm}",
    }


def _image_facts(image: Image, release: Release) -> dict[str, str]:
    facts = {
        "to": image.at(release.version) if image.tag else image.to,
        "digest": image.manifest.digest,
        "signed by": _signed_by(image, release),
    }
    if image.platforms:
        facts["platforms"] = ", ".join(image.platforms)
    if image.converted:
        facts["converted from"] = image.converted
    if image.sbom_reason:
        facts["no SBOM:"] = image.sbom_reason
    return facts


def _signed_by(image: Image, release: Release) -> str:
    """Return whose signature over the image the release requires; it was verified when the bundle was built."""
    if image.signed_by == "none":
        return f"nobody ({image.reason or 'no reason given'})"
    signer = release.signers.get(image.signed_by)
    if signer is None:
        return image.signed_by
    who = f"key {signer.key.keyid[:12]}" if signer.key else f"{signer.identity} by {signer.issuer}"
    return f"{image.signed_by} ({who})"


def _digests(thing: object, _: Release) -> dict[str, str]:
    files = getattr(thing, "files", None)
    if files is not None:
        return {platform: blob.digest for platform, blob in files.items()}
    return {"digest": str(getattr(thing, "digest", ""))}


def _files(release: Release | None) -> dict[str, str]:
    if release is None:
        return {}
    return {
        f"{fileset.name}/{entry.path}": entry.digest + (" executable" if entry.executable else "")
        for fileset in release.files
        for entry in fileset.entries
    }


def component_differences(
    old: Mapping[str, tuple[SbomComponent, ...]], new: Mapping[str, tuple[SbomComponent, ...]]
) -> Iterator[Difference]:
    """Yield components added, removed and changed; the same change in several images is one difference."""
    changes: dict[tuple[str, str | None, str | None], list[str]] = {}
    for image in sorted(old.keys() | new.keys()):
        was, now = _versions(old.get(image, ())), _versions(new.get(image, ()))
        for identity in was.keys() | now.keys():
            change = (identity, was.get(identity), now.get(identity))
            if change[1] != change[2]:
                changes.setdefault(change, []).append(image)
    for (identity, before, after), images in sorted(
        changes.items(), key=lambda change: tuple(word or "" for word in change[0])
    ):
        yield Difference("sbom", f"{identity} in {', '.join(images)}", before, after)


def _versions(components: Iterable[SbomComponent]) -> dict[str, str]:
    versions_by_identity: dict[str, list[str]] = {}
    for component in components:
        versions_by_identity.setdefault(component.identity, []).append(component.version or "no version")
    return {identity: ", ".join(sorted(versions)) for identity, versions in versions_by_identity.items()}


def advisories_between(
    old: ReleaseDocuments | None, new: ReleaseDocuments, *, left: tuple[Release, ...] = ()
) -> Advisories:
    """Return the advisories that a change from ``old`` to ``new`` fixes and reopens.

    A release lists its fixes; its successors need not repeat them. So a fix is lost only in a rollback, or where the
    OpenVEX of the new release states that it is affected.

    Args:
        left: Releases between the two, whose fixes are gained by an upgrade and lost by a rollback.
    Statements that one side alone can give are not compared: then only the fixes that the releases list count.
    """
    if "advisories" in incomparable_parts(old, new):
        old, new = replace(old, advisories={}) if old else None, replace(new, advisories={})
    severities = {fix.advisory: fix.severity for release in (*left, new.release) for fix in release.fixes}
    fixed_between = {fix.advisory for release in left for fix in release.fixes}
    fixed_by_new = _fixed(new)
    if old is None:
        return Advisories(tuple(sorted((name, severities.get(name, "none")) for name in fixed_by_new)), ())
    fixed_by_old = _fixed(old)
    if new.release.mark < old.release.mark:
        unaffected = {name for name, statuses in new.advisories.items() if statuses == {"not_affected"}}
        reopened = (fixed_by_old | fixed_between) - fixed_by_new - unaffected
        fixed = fixed_by_new - fixed_by_old
    else:
        safe = {name for name, statuses in old.advisories.items() if statuses <= {"fixed", "not_affected"}}
        affected = {"affected", "under_investigation"}
        reopened = {name for name in fixed_by_old | safe if new.advisories.get(name, frozenset()) & affected}
        fixed = (fixed_by_new | fixed_between) - fixed_by_old - reopened
    return Advisories(
        tuple(sorted((name, severities.get(name, "not stated")) for name in fixed)), tuple(sorted(reopened))
    )


def _fixed(side: ReleaseDocuments) -> set[str]:
    return {fix.advisory for fix in side.release.fixes} | {
        name for name, statuses in side.advisories.items() if statuses == {"fixed"}
    }


def _advisories(old: ReleaseDocuments | None, new: ReleaseDocuments) -> Iterator[Difference]:
    advisories = advisories_between(old, new)
    for name, severity in advisories.fixed:
        yield Difference("advisories", name, None, f"fixed ({severity})")
    for name in advisories.reopened:
        yield Difference("advisories", name, "fixed", None)
    if old is None:
        return
    named_above = {name for name, _ in advisories.fixed} | set(advisories.reopened)
    for name in sorted(new.advisories.keys() - named_above):
        was, now = old.advisories.get(name), new.advisories[name]
        if was != now:
            before, after = (
                None if statuses is None else ", ".join(sorted(status.replace("_", " ") for status in statuses))
                for statuses in (was, now)
            )
            yield Difference("advisories", name, before, after)


def _schema(side: ReleaseDocuments | None) -> dict[str, str]:
    if side is None or side.release.config is None:
        return {}
    facts = {"version": str(side.release.config.version), "digest": side.release.config.schema.digest}
    if side.schema is not None:
        facts |= {path: leaf.shown for path, leaf in leaves(json.loads(side.schema)).items()}
    return facts


def handler_facts(handler: Handler, _: Release | None = None) -> dict[str, str]:
    """Return what the handler does, its permissions and limits, and the exact command that it runs."""
    limits = handler.limits
    output = f"{show_size(limits.output_bytes)} of output"
    at_most = f"{show_duration(limits.seconds)}, {show_size(limits.memory_bytes)} of memory, {output}"
    if handler == BUILT_IN.get(handler.name) and handler.risk != "read-only":
        # What changes something is not cut off in the middle; its drivers have time limits of their own.
        at_most = output
    return {
        "does": handler.does,
        "risk": handler.risk,
        "may": ", ".join(handler.may) or "nothing",
        "runs": argv(handler.run),
        "with": ", ".join(f"{name} {show_values(value)}" for name, value in sorted(handler.parameters.items())),
        "repeatable": "yes" if handler.repeatable else "no",
        "at most": at_most,
        "returns": handler.returns or "",
        "source": handler.source,
    }


def _step_facts(step: InstallStep, _: Release) -> dict[str, str]:
    return {
        "driver": step.driver,
        "images": ", ".join(step.images),
        "files": ", ".join(step.files),
        "chart": step.chart or "",
        "migration": step.migration or "",
        "keeps running": argv(step.keep_running) if step.keep_running else "",
        "data": f"data/{step.data}" if step.data else "",
        "after": ", ".join(step.after),
        "downtime": show_duration(step.downtime_seconds) if step.downtime_seconds else "",
    }


def probe_facts(probe: Probe, _: Release | None = None) -> dict[str, str]:
    what = ""
    if probe.http:
        what = f"http {probe.http.endpoint} {probe.http.path} answers {probe.http.status}"
    elif probe.tcp:
        what = f"tcp {probe.tcp.endpoint}"
    elif probe.file:
        what = f"file {probe.file.files}/{probe.file.path} is as released"
    elif probe.step:
        what = f"step {probe.step} is as released"
    return {"looks at": what, "passes": f"{probe.passes} in a row, every {show_duration(probe.every_seconds)}"}


def host_facts(release: Release | None) -> dict[str, str]:
    """Return what the release needs of its host, in the words in which the result of the look is shown."""
    needs = release.host if release is not None else None
    if needs is None:
        return {}
    facts: dict[str, str] = {}
    if needs.disk_bytes is not None:
        facts["disk"] = f"{show_size(needs.disk_bytes)} free beside what the install needs"
    if needs.memory_bytes is not None:
        facts["memory"] = f"{show_size(needs.memory_bytes)} in total"
    if needs.cores is not None:
        facts["cores"] = str(needs.cores)
    if needs.kernel is not None:
        facts["kernel"] = f"{needs.kernel} or newer"
    for port in needs.ports:
        facts[f"port {port}"] = "nothing else listens there"
    if needs.clock_seconds is not None:
        facts["clock"] = f"at most {show_duration(needs.clock_seconds)} from other clocks"
    for certificate in needs.certificates:
        facts[f"certificate {certificate.endpoint}"] = f"good for {show_count(certificate.days, 'day')}"
    if needs.registry is not None:
        facts["registry"] = "answers"
    if needs.kubernetes is not None:
        facts["kubernetes"] = f"{needs.kubernetes} or newer"
    if needs.warn:
        facts["only warned of"] = ", ".join(needs.warn)
    return facts


def _rollback(document: Rollback | None) -> dict[str, str]:
    if document is None:
        return {}
    facts = {
        "class": document.class_,
        "back to": " or ".join(document.back_to) or "nothing",
        "loses": document.loses,
        "no return": document.no_return,
        "offered for": show_duration(document.offered_for_seconds),
        "rehearsal": document.rehearsal or "not rehearsed",
    }
    for backup in document.backup:
        proves = backup.proves or "nothing"
        facts[f"backup {backup.name}"] = (
            f"{argv(backup.make)}; at most {show_size(backup.at_most_bytes)}; proves {proves}"
        )
    for step in document.steps:
        undo = f"undo {argv(step.undo)}" if step.undo else "no undo"
        facts[f"migration {step.name}"] = f"{argv(step.do)}; {undo}; after a crash: {step.after_crash}"
    for state in document.state:
        facts[f"state {state.name}"] = f"format {state.before.writes} to {state.after.writes}"
    return facts
