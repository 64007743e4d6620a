"""Check ``release.yaml``, alone and against the files that it names."""

import re
from collections.abc import Iterable, Iterator

from manifests.authored.handwritten import Faults, Handwritten
from manifests.authored.release_yaml import (
    ALL,
    NONE,
    ChartFile,
    ChartImagesFile,
    HandlerFile,
    HostFile,
    ImageFile,
    ProbeFile,
    ReleaseFile,
    parse_from,
)
from manifests.authored.values_yaml import compile_values
from manifests.documents.contract import Contract, Signal
from manifests.documents.handler_catalogue import BUILT_IN, ROWS, stated_fields
from manifests.documents.host_needs import host_contradictions
from manifests.documents.release import DRIVERS
from manifests.documents.release_reader import NAMED_ONCE
from manifests.documents.rollback import Rollback
from manifests.words.errors import MalformedError, WaybillError
from manifests.words.quantities import parse_duration, parse_size
from manifests.words.time import parse_time
from manifests.words.version import parse_range, parse_version

# What each driver takes from one install step.
_TAKES = {"store": "images", "registry": "images", "files": "files", "helm": "chart", "program": "migration"}

_PARAMETER = re.compile(r"\{(.*)\}")


def release_problems(file: Handwritten, release: ReleaseFile) -> Iterator[WaybillError]:
    """Everything that cannot hold inside ``release.yaml``, each with ``file:line``."""
    yield from _facts(file, release)
    yield from _names(file, release)
    if release.host is not None:
        yield from _host(file, release.host)
    for i, image in enumerate(release.images):
        yield from _image(file, f"$.images[{i}]", image, release)
    for i, chart in enumerate(release.charts):
        yield from _chart(file, f"$.charts[{i}]", chart, release)
    for name, signer in release.signers.items():
        by_identity = signer.identity is not None and signer.issuer is not None
        if (signer.key is not None) == by_identity or (signer.identity is None) != (signer.issuer is None):
            yield file.wrong(f"signer {name!r} needs either key, or identity and issuer", f"$.signers.{name}")
    identities = any(one.key is None for one in release.signers.values())
    if identities > (release.sigstore is not None) or (release.sigstore is not None and not release.signers):
        yield file.wrong(
            "`sigstore` and signers that are identities go together",
            "$.sigstore" if release.sigstore is not None else "$.signers",
            "write sigstore: PATH, the trusted_root.json that identities are verified with",
        )
    for i, handler in enumerate(release.handlers):
        yield from _handler(file, f"$.handlers[{i}]", handler, release)
    yield from _install(file, release)
    for i, probe in enumerate(release.probes):
        yield from _probe(file, f"$.probes[{i}]", probe, release)
    yield from file.problems(parse_duration, release.trial.at_most, "$.trial.at_most")
    if release.trial.confirm == "probes" and not release.probes:
        problem = "probes are to confirm the trial, and there are none"
        yield file.wrong(problem, "$.trial", "add a probe, or write confirm: person")


def reference_problems(
    file: Handwritten, release: ReleaseFile, contract: Contract, rollback: Rollback
) -> Iterator[MalformedError]:
    """Yield what the release names in its contract and rollback document, or they in it, and is not there."""
    yield from _signal_problems(file, release, contract)
    yield from _returns_problems(file, release, contract)
    yield from _migration_problems(file, release, rollback)
    for _, problem, line in _other_folders(release, rollback):
        yield file.wrong(problem, "$.rollback", line)
    programs = {program.name for program in release.programs}
    for what, command in _commands(rollback):
        if command[0] not in programs:
            problem = f"{what} of {release.rollback} runs {command[0]!r}, which is not a program of this release"
            yield file.wrong(problem, "$.rollback")


def _signal_problems(file: Handwritten, release: ReleaseFile, contract: Contract) -> Iterator[MalformedError]:
    """Signals read probes and handlers of this release, or what a handler of the verifier states."""
    probes = {probe.name for probe in release.probes}
    handlers = {*BUILT_IN, *(handler.name for handler in release.handlers)}
    for signal in contract.signals:
        handler = getattr(signal.source, "handler", None)
        if handler in BUILT_IN:
            yield from _built_in_problems(file, f"signal {signal.name!r} of {release.contract}", signal, handler)
        for verb, kind, names in (("reads", "probe", probes), ("needs", "handler", handlers)):
            name = getattr(signal.source, kind, None)
            if name is not None and name not in names:
                problem = f"signal {signal.name!r} of {release.contract} {verb} {kind} {name!r}, which is not here"
                yield file.wrong(problem, "$.contract")


def _built_in_problems(file: Handwritten, words: str, signal: Signal, handler: str) -> Iterator[MalformedError]:
    """A signal from a handler of the verifier has only fields that it states; names of a site are an enumeration."""
    stated = stated_fields(handler)
    if others := ", ".join(sorted(set(signal.fields) - set(stated))):
        problem = f"{words} has {others}, which {handler} does not state"
        yield file.wrong(problem, "$.contract", f"it states {', '.join(stated)}")
    for name, values in ROWS.get(handler, {}).items():
        if values is None and name in signal.fields and signal.fields[name].enum is None:
            problem = f"field {name} of {words} is not an enumeration"
            yield file.wrong(problem, "$.contract", f"write `{name}: {{enum: […]}}` with the names that may leave")


def _returns_problems(file: Handwritten, release: ReleaseFile, contract: Contract) -> Iterator[MalformedError]:
    """What a handler returns is a signal that the contract takes from this handler."""
    taken = {(signal.name, signal.source.handler) for signal in contract.signals if signal.source is not None}
    for i, handler in enumerate(release.handlers):
        if handler.returns is not None and (handler.returns, handler.name) not in taken:
            yield file.wrong(
                f"handler {handler.name!r} returns {handler.returns!r}, which {release.contract} does not take from it",
                f"$.handlers[{i}].returns",
            )


def _migration_problems(file: Handwritten, release: ReleaseFile, rollback: Rollback) -> Iterator[MalformedError]:
    """Each step of the rollback document is run by exactly one install step."""
    steps = {step.name for step in rollback.steps}
    migrations = [step.migration for step in release.install if step.migration is not None]
    for i, step in enumerate(release.install):
        if step.migration is not None and step.migration not in steps:
            problem = f"migration {step.migration!r} is not a step of {release.rollback}"
            yield file.wrong(problem, f"$.install[{i}].migration")
    for name in sorted(steps - set(migrations)):
        yield file.wrong(
            f"step {name!r} of {release.rollback} is run by no install step",
            "$.rollback",
            f"add {{step: {name}, driver: program, migration: {name}}} to `install`",
        )
    if len(set(migrations)) != len(migrations):
        yield file.wrong("a migration is run twice", "$.install")


# What it is, the name of the data, the line that would name other data, and its commands.
_Use = tuple[str, str, str, tuple[tuple[str, ...] | None, ...]]


def _service_folders(release: ReleaseFile) -> list[str]:
    """Names of the data folders of the services, in the order of the install steps."""
    return [step.data or step.step for step in release.install if step.keep_running is not None]


def _other_folders(release: ReleaseFile, rollback: Rollback) -> Iterator[tuple[str, str, str]]:
    """Yield the names of data whose program gets ``data``, and elsewhere the folder of a service; what; line to write.

    One program that works on the data of a service in their folder cannot find them from the folder above too.
    """
    services = _service_folders(release)
    uses: list[_Use] = [
        (f"backup {backup.name!r}", backup.name, "name: {}", (backup.make, backup.restore, backup.try_))
        for backup in rollback.backup
    ]
    uses += [
        (
            f"step {step.name!r}",
            step.touches[0],
            "touches: [{0}]` and state `name: {0}",
            (step.do, step.undo, step.check),
        )
        for step in rollback.steps
        if len(step.touches) == 1
    ]
    known = {
        command[0]: (what, name)
        for what, name, _, commands in uses
        if name in services
        for command in commands
        if command
    }
    for what, name, line, commands in uses:
        program = next((command[0] for command in commands if command and command[0] in known), None)
        if name not in services and program is not None:
            other, data = known[program]
            problem = (
                f"{what} of {release.rollback} runs {program!r} with WAYBILL_DATA=data, and {other} runs it with "
                f"WAYBILL_DATA=data/{data}, where a service keeps its data"
            )
            yield name, problem, f"write `{line.format(data)}` for {what} in {release.rollback}"


def data_warnings(release: ReleaseFile, rollback: Rollback) -> Iterator[tuple[str, str]]:
    """Yield where and what: data that the rollback document saves or changes, and that no service calls by that name.

    What ``reference_problems`` refuses is left out.

    A service keeps its data in the folder that its step names with ``data``, or else in one with the name of the step.
    A program gets the folder with the name of the data that it saves or changes. Under another name it gets the folder
    above, and could save an empty one.
    """
    services = _service_folders(release)
    refused = {name for name, _, _ in _other_folders(release, rollback)}
    names = [("backup", backup.name) for backup in rollback.backup]
    names += [("state", state.name) for state in rollback.state]
    for kind, name in names if services else ():
        if name not in services and name not in refused:
            where = f"{release.rollback} $.{kind}"
            yield (
                where,
                f"{kind} {name!r} is no data folder of a service; the services of this release keep their data "
                f"under {', '.join(f'data/{service}' for service in services)}, and programs for {name!r} get "
                "WAYBILL_DATA=data",
            )


def proof_warnings(release: ReleaseFile, rollback: Rollback) -> Iterator[tuple[str, str]]:
    """Yield where and what: backups whose trial restore proves nothing."""
    for backup in rollback.backup:
        if backup.proves is None:
            yield (
                f"{release.rollback} $.backup",
                f"backup {backup.name!r} proves nothing; write `proves: rows` or `proves: digest`, and let `make` and "
                "`try` state it",
            )


def _commands(rollback: Rollback) -> Iterator[tuple[str, tuple[str, ...]]]:
    for step in rollback.steps:
        for word, command in (("do", step.do), ("undo", step.undo), ("check", step.check)):
            if command is not None:
                yield f"{word} of step {step.name!r}", command
    for backup in rollback.backup:
        for word, command in (("make", backup.make), ("restore", backup.restore), ("try", backup.try_)):
            yield f"{word} of backup {backup.name!r}", command


def _facts(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    """Yield what is wrong with version, dates, audience, sequence and needs."""
    yield from file.problems(parse_version, release.version, "$.version")
    for i, version_range in enumerate(release.needs.from_):
        yield from file.problems(parse_range, version_range, f"$.needs.from[{i}]")
    for name in ("next_expected_by", "supported_until", "issued_at"):
        if getattr(release, name) is not None:
            yield from file.problems(parse_time, getattr(release, name), f"$.{name}")
    audience = release.audience
    if [bool(audience.customers), bool(audience.environments)] != [not audience.everyone] * 2:
        yield file.wrong("the audience is either `everyone: true`, or customers and environments", "$.audience")
    if release.floor > release.sequence:
        yield file.wrong(f"floor {release.floor} is above the release's own sequence {release.sequence}", "$.floor")
    if not release.needs.fresh and not release.needs.from_:
        yield file.wrong("nothing may go to this release: neither `fresh: true` nor a range in `from`", "$.needs")
    parts = {one.name for group in (release.images, release.files, release.charts, release.programs) for one in group}
    for i, fix in enumerate(release.fixes):
        if fix.in_ not in parts:
            problem = f"{fix.in_!r} is not an image, file set, chart or program of this release"
            yield file.wrong(problem, f"$.fixes[{i}].in")


def _host(file: Handwritten, host: HostFile) -> Iterator[MalformedError]:
    for name, parse in (("disk", parse_size), ("memory", parse_size), ("clock", parse_duration)):
        if getattr(host, name) is not None:
            yield from file.problems(parse, getattr(host, name), f"$.host.{name}")
    for problem, place in host_contradictions(host):
        yield file.wrong(problem, f"$.host{place}")


def _names(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    for group, key in NAMED_ONCE:
        for i, name in _repeated(getattr(entry, key) for entry in getattr(release, group)):
            yield file.wrong(f"{key} {name!r} is given twice", f"$.{group}[{i}].{key}")
    places = (image.to if ":" in image.to else f"{image.to}:{release.version}" for image in release.images)
    for i, place in _repeated(places):
        remedy = f"write another repository, or another tag: `to: {place.partition(':')[0]}:TAG`"
        yield file.wrong(f"to {place!r} is given twice", f"$.images[{i}].to", remedy)


def _repeated(names: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each name that was there before, with its place."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            yield i, name
        seen.add(name)


def _chart(file: Handwritten, path: str, chart: ChartFile, release: ReleaseFile) -> Iterator[MalformedError]:
    if (chart.images_from is None) != (chart.images is None):
        problem = "`images_from: chart` and `images` go together"
        remedy = "under `images` say for all images of the chart: signed_by (none needs a reason), sbom, platforms"
        yield file.wrong(problem, path, remedy)
    if chart.images is not None:
        yield from _signed_image(file, f"{path}.images", chart.images, release)


def _image(file: Handwritten, path: str, image: ImageFile, release: ReleaseFile) -> Iterator[MalformedError]:
    yield from file.problems(parse_from, image.from_, f"{path}.from")
    yield from _signed_image(file, path, image, release)


def _signed_image(
    file: Handwritten, path: str, image: ImageFile | ChartImagesFile, release: ReleaseFile
) -> Iterator[MalformedError]:
    if len(set(image.platforms)) != len(image.platforms):
        yield file.wrong("a platform is given twice", f"{path}.platforms")
    if image.signed_by == NONE and not image.reason:
        yield file.wrong("an image that nobody signed needs a `reason`", f"{path}.signed_by")
    if image.signed_by != NONE and image.signed_by not in release.signers:
        yield file.wrong(f"{image.signed_by!r} is not under `signers`", f"{path}.signed_by")
    if (image.sbom == NONE) != (image.sbom_reason is not None):
        problem = "`sbom: none` and `sbom_reason` go together"
        yield file.wrong(problem, f"{path}.sbom", "an image has an SBOM, or says why not")


def _handler(file: Handwritten, path: str, handler: HandlerFile, release: ReleaseFile) -> Iterator[WaybillError]:
    if handler.name in BUILT_IN:
        problem = f"{handler.name!r} is a handler of every verifier, which never runs another one under this name"
        yield file.wrong(problem, f"{path}.name", "give the handler another name")
    if handler.endpoints:
        problem = (
            f"handler {handler.name!r} needs {', '.join(handler.endpoints)}; the sandbox of a handler has no network"
        )
        yield file.wrong(problem, f"{path}.endpoints", "leave out `endpoints`, or use a probe or a collector")
    if handler.run[0] not in {one.name for one in release.programs}:
        yield file.wrong(f"{handler.run[0]!r} is not a program of this release", f"{path}.run")
    used = [match[1] for word in handler.run[1:] if (match := _PARAMETER.fullmatch(word))]
    for name in used:
        if name not in handler.parameters:
            yield file.wrong(f"{{{name}}} is not under `parameters`", f"{path}.run")
    for word in handler.run[1:]:
        if _PARAMETER.search(word) and not _PARAMETER.fullmatch(word):
            problem = f"{word!r} mixes a parameter with other text"
            yield file.wrong(problem, f"{path}.run", "write the parameter as an argument of its own")
    for name in handler.parameters:
        if name not in used:
            yield file.wrong(f"parameter {name!r} is not used in `run`", f"{path}.parameters.{name}")
    faults = Faults()
    compile_values(file, f"{path}.parameters", handler.parameters, faults)
    yield from faults.problems
    yield from file.problems(parse_duration, handler.limits.time, f"{path}.limits.time")
    yield from file.problems(parse_size, handler.limits.memory, f"{path}.limits.memory")
    yield from file.problems(parse_size, handler.limits.output, f"{path}.limits.output")


def _install(file: Handwritten, release: ReleaseFile) -> Iterator[MalformedError]:
    """Yield what is wrong with the steps of `install`."""
    known = {
        "images": {one.name for one in release.images},
        "files": {one.name for one in release.files},
    }
    # The names of images that are taken from a chart are known when it was rendered.
    taken = any(chart.images_from is not None for chart in release.charts)
    done: set[str] = set()
    for i, step in enumerate(release.install):
        path = f"$.install[{i}]"
        images = () if step.images == ALL or taken else step.images
        if step.driver not in DRIVERS:
            problem = f"step {step.step!r} needs the driver {step.driver!r}, verifiers have {', '.join(DRIVERS)}"
            yield file.wrong(problem, f"{path}.driver", "name one of these; no verifier could install the release")
            continue
        wanted = _TAKES[step.driver]
        given = [name for name in ("images", "files", "chart", "migration") if getattr(step, name)]
        if given != [wanted]:
            problem = f"driver {step.driver} takes `{wanted}` and nothing else, found {', '.join(given) or 'nothing'}"
            yield file.wrong(problem, path)
        if step.data is not None and step.keep_running is None:
            problem = "`data` is the folder of a service, and the step keeps none running"
            yield file.wrong(problem, f"{path}.data", "remove it, or add keep_running")
        if step.keep_running is not None and step.driver != "files":
            yield file.wrong("only driver files keeps a program running", f"{path}.keep_running")
        given_names: list[tuple[str, str, str]] = [(f"images[{k}]", "images", one) for k, one in enumerate(images)]
        given_names += [(f"files[{k}]", "files", one) for k, one in enumerate(step.files)]
        for place, group, name in given_names:
            if name not in known[group]:
                yield file.wrong(f"{name!r} is not in this release", f"{path}.{place}")
        if step.chart is not None and step.chart not in {one.name for one in release.charts}:
            yield file.wrong(f"{step.chart!r} is not under `charts`", f"{path}.chart")
        for name in step.after:
            if name not in done:
                yield file.wrong(f"`after` names {name!r}, which is not a step above this one", f"{path}.after")
        if step.downtime is not None:
            yield from file.problems(parse_duration, step.downtime, f"{path}.downtime")
        done.add(step.step)


def _probe(file: Handwritten, path: str, probe: ProbeFile, release: ReleaseFile) -> Iterator[MalformedError]:
    if sum(one is not None for one in (probe.http, probe.tcp, probe.file, probe.step)) != 1:
        yield file.wrong("a probe is exactly one of http, tcp, file, step", path)
    if probe.step is not None and probe.step not in {one.step for one in release.install}:
        yield file.wrong(f"{probe.step!r} is not a step of `install`", f"{path}.step")
    if probe.file is not None and probe.file.files not in {one.name for one in release.files}:
        yield file.wrong(f"{probe.file.files!r} is not under `files`", f"{path}.file")
    if probe.every is not None:
        yield from file.problems(parse_duration, probe.every, f"{path}.every")
