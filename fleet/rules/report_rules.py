"""The rules for a verified report: each compares it with the ledger and yields findings.

The site wrote the report; nothing here uses the code that it was written with. docs/report.md lists the rules by field.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from fleet.rules.values import FIRST_POLICY, Library, ReportChain, ReportFinding, named_positions
from manifests.documents.report import MAX_EARLIER, Report, ReportedComponent
from manifests.documents.signed_report import SignedReport
from manifests.trust.root import Mark
from manifests.words.text import short_digest
from manifests.words.time import parse_time

CLOCK_SLACK = timedelta(days=1)
MAX_NAMED = 5
# No site loses a thousand reports. A number that far ahead would make every honest report that follows a late one.
LARGE_GAP = 1000
# Older than every time that a report can hold; stands for an absent one in comparisons.
_NEVER = datetime.min.replace(tzinfo=UTC)


def judge(signed: SignedReport, chain: ReportChain, library: Library, now: datetime) -> tuple[ReportFinding, ...]:
    """Return every finding about a verified report of the site of ``chain``, before it is added to the chain.

    A report that names another site or key epoch was refused before: that is identity, not judgement.
    """
    report = signed.report
    findings = [*_standing(chain), *_key_span(report, chain)]
    branch = [*_refused_branch(signed, chain), *_fork(signed, chain)]
    findings += branch
    if chain.set_aside_from(signed) is None:
        findings += _gap(signed, chain)
    findings += [*_acknowledged(signed, chain), *_challenged(report, chain), *_answers(report, chain)]
    before, after = chain.before(report.chain.seq), chain.after(report.chain.seq)
    # Values that only grow do so along one history; a neighbour on the other branch of a fork proves nothing.
    if before is not None and not branch:
        findings += _decreases(before, report, chain.challenges)
    if after is not None and not branch:
        findings += _decreases(report, after, chain.challenges)
    findings += _first_policy(report, before, chain)
    findings += _policy(report, before)
    findings += _trust(report, before, library)
    findings += _offboarding(report, before)
    findings += _installed(report, library)
    findings += _below_floor(report, before, chain)
    findings += _contract_breach(report, library)
    findings += _components(report, library)
    if parse_time(report.chain.made_at) > now + CLOCK_SLACK:
        text = f"the site's clock is ahead: it says {report.chain.made_at}"
        findings.append(ReportFinding("clock-ahead", False, text))
    return tuple(findings)


def _standing(chain: ReportChain) -> Iterator[ReportFinding]:
    if chain.closed_at is not None:
        text = f"the site was closed on {chain.closed_at:%Y-%m-%d} and still reports"
        yield ReportFinding("site-closed", True, text)
    if chain.standing == "pending":
        text = f"signed by a renewed key that nobody has accepted: waybill fleet resolve {chain.site}"
        yield ReportFinding("line-pending", False, text)
    elif chain.standing != "current":
        text = "signed by a key that no longer counts for this site; another enrolment was accepted"
        yield ReportFinding("line-former", True, text)


def _key_span(report: Report, chain: ReportChain) -> Iterator[ReportFinding]:
    if chain.may_sign(report):
        return
    epoch, seq = report.identity.key_epoch, report.chain.seq
    after, until = chain.spans[epoch]
    if seq <= after:
        text = f"report {seq} is signed by key {epoch}, which begins after report {after}"
        yield ReportFinding("key-early", True, text)
    else:
        text = f"report {seq} is signed by key {epoch}, which ended with report {until}"
        yield ReportFinding("key-superseded", True, text)


def _refused_branch(signed: SignedReport, chain: ReportChain) -> Iterator[ReportFinding]:
    for seq, digest in named_positions(signed):
        if digest in chain.refused.get(seq, ()):
            text = f"it continues report {seq} ({short_digest(digest)}), which was set aside: that copy is still in use"
            yield ReportFinding("branch-refused", True, text)
            return


def _fork(signed: SignedReport, chain: ReportChain) -> Iterator[ReportFinding]:
    for seq, digest in named_positions(signed):
        known = chain.known.get(seq, set())
        if known <= {digest}:
            continue
        what = "the enrolment" if seq == 0 else f"report {seq}"
        if digest in known and signed.digest != digest:
            yield ReportFinding("site-forked", True, f"the site's reports are forked since {what}")
        else:
            others = ", ".join(sorted(short_digest(other) for other in known - {digest}))
            text = (
                f"{what} is {short_digest(digest)} here and {others} elsewhere: one key signed two histories; "
                "the site's folder was copied or restored, or its key was stolen"
            )
            yield ReportFinding("report-forked", True, text)
        return


def _gap(signed: SignedReport, chain: ReportChain) -> Iterator[ReportFinding]:
    link = signed.report.chain
    first, last = chain.newest + 1, link.seq - 1
    if link.seq < chain.newest:
        yield ReportFinding("report-late", False, f"report {link.seq} came after report {chain.newest}")
    elif first <= last:
        summed_up = last - first < MAX_EARLIER and {one.seq for one in link.earlier} >= set(range(first, link.seq))
        which = f"report {first}" if first == last else f"reports {first} to {last}"
        if summed_up:
            yield ReportFinding(
                "report-summed-up", False, f"{which} {'is' if first == last else 'are'} summed up here; no file came"
            )
        else:
            text = f"{which} {'is' if first == last else 'are'} not here"
            yield ReportFinding("report-gap", last - first >= LARGE_GAP, text)


def _acknowledged(signed: SignedReport, chain: ReportChain) -> Iterator[ReportFinding]:
    claimed = signed.report.chain.acknowledged
    if claimed is None or claimed.digest in chain.acknowledged:
        return
    why = "is here and was never acknowledged" if claimed.digest in chain.held_digests else "was never here"
    text = f"the site holds an acknowledgement of report {claimed.seq} ({short_digest(claimed.digest)}), which {why}"
    yield ReportFinding("acknowledgement-unknown", True, text)


def _challenged(report: Report, chain: ReportChain) -> Iterator[ReportFinding]:
    """A report that echoes a challenge was signed after it was made, whatever the site's clock says."""
    echoed = report.chain.challenge
    if echoed is None:
        return
    made_at = chain.challenges.get(echoed)
    if made_at is None:
        text = f"the site echoes challenge {short_digest(echoed)}, which was never made for it"
        yield ReportFinding("challenge-unknown", True, text)
    elif parse_time(report.chain.made_at) < made_at:
        text = (
            f"the site's clock is behind: it says {report.chain.made_at}; "
            f"the report echoes a challenge of {made_at:%Y-%m-%dT%H:%M:%SZ}"
        )
        yield ReportFinding("clock-behind", False, text)


def _answers(report: Report, chain: ReportChain) -> Iterator[ReportFinding]:
    """An answer to a request that this ledger never made; what the site's own people ran is no answer."""
    for answer in report.requests:
        if answer.consignment is None:
            continue
        handler = chain.requested.get((answer.consignment, answer.request))
        if handler != answer.handler:
            why = "which was never made" if handler is None else f"which names {handler}"
            text = f"it answers request {answer.request} ({answer.handler}) of consignment {answer.consignment}, {why}"
            yield ReportFinding("request-unknown", True, text)
            return


def _decreases(older: Report, newer: Report, challenges: Mapping[str, datetime]) -> Iterator[ReportFinding]:
    """Findings for what may only grow from one report to a later one."""
    old, new = older.chain.journal, newer.chain.journal
    span = f"from report {older.chain.seq} to report {newer.chain.seq}"
    if new.entries < old.entries or (new.entries == old.entries and new.head != old.head):
        text = f"the site's journal changed from {old.entries} to {new.entries} entries {span}"
        yield ReportFinding("journal-truncated", True, text)
    same_channel = older.trust.channel == newer.trust.channel
    replaced = newer.trust.roots_replaced > older.trust.roots_replaced
    decreased = {
        # Marks belong to a channel; another channel counts from the start.
        "floor": same_channel and _position(newer.trust.floor) < _position(older.trust.floor),
        "mark": same_channel and _position(newer.trust.mark) < _position(older.trust.mark),
        "root version": not replaced and newer.trust.root.version < older.trust.root.version,
        "revocation list": newer.trust.revocations < older.trust.revocations,
        "time floor": _time(newer.trust.time_floor) < _time(older.trust.time_floor),
        "policy number": (newer.policy.number if newer.policy else 0) < (older.policy.number if older.policy else 0),
        "challenge": _challenge_time(newer, challenges) < _challenge_time(older, challenges),
        "acknowledgement": _acknowledged_seq(newer) < _acknowledged_seq(older),
    }
    if replaced:
        yield ReportFinding("root-replaced", True, f"the site's root was replaced on paper {span}")
    names = [name for name, is_lower in decreased.items() if is_lower]
    if names:
        yield ReportFinding("state-went-back", True, f"{', '.join(names)} decreased {span}")
    a_policy, b_policy = older.policy, newer.policy
    if a_policy and b_policy and a_policy.number == b_policy.number and a_policy.digest != b_policy.digest:
        yield ReportFinding("policy-swapped", True, f"policy {b_policy.number} has another digest {span}")
    releases = {generation.number: generation.release for generation in older.install.generations}
    for generation in newer.install.generations:
        if releases.get(generation.number, generation.release) != generation.release:
            text = f"generation {generation.number} is another release {span}"
            yield ReportFinding("generation-swapped", True, text)
            return


def _first_policy(report: Report, before: Report | None, chain: ReportChain) -> Iterator[ReportFinding]:
    """The site's journal begins with the policy of its enrolment; without that, with the policy of the report before.

    Whoever computes a journal anew, and begins with people of their own, changes this.
    """
    source, expected = "its enrolment", chain.first_policy
    if expected is None and before is not None and before.policy is not None:
        source, expected = f"report {before.chain.seq}", before.policy.first
    first = report.policy.first if report.policy else None
    if expected is not None and first != expected:
        claim = f"is {short_digest(first)}" if first else "is not stated"
        yield ReportFinding(
            FIRST_POLICY,
            True,
            f"the first policy of its journal {claim}; {source} names "
            f"{short_digest(expected)}: the journal was written anew, and others may approve there",
        )


def _policy(report: Report, before: Report | None) -> Iterator[ReportFinding]:
    """Emergency rules and new foundations of the policy, each reported once: by the first report that has it."""
    policy, previous = report.policy, before.policy if before else None
    if policy is None:
        return
    known = {(use.rule, use.plan) for use in previous.emergency} if previous else set()
    for use in policy.emergency:
        if (use.rule, use.plan) not in known:
            text = f"emergency rule {use.rule} of policy {use.policy} approved release {short_digest(use.release)}"
            yield ReportFinding("emergency-used", False, text)
    if policy.refounded is not None and (previous is None or previous.refounded != policy.refounded):
        which = short_digest(policy.digest) if policy.refounded == policy.number else "that policy"
        text = (
            f"policy {policy.refounded} was founded again, without the quorum of the policy before; "
            f"ask the customer whether the signed paper names {which}"
        )
        yield ReportFinding("policy-refounded", True, text)


def _challenge_time(report: Report, challenges: Mapping[str, datetime]) -> datetime:
    return challenges.get(report.chain.challenge or "", _NEVER)


def _acknowledged_seq(report: Report) -> int:
    return report.chain.acknowledged.seq if report.chain.acknowledged else 0


def _position(mark: Mark | None) -> tuple[int, int]:
    return (0, 0) if mark is None else (mark.epoch, mark.sequence)


def _time(text: str | None) -> datetime:
    return parse_time(text) if text else _NEVER


def _trust(report: Report, before: Report | None, library: Library) -> Iterator[ReportFinding]:
    root = report.trust.root
    known = library.roots.get(root.version, set())
    if known and root.digest not in known:
        text = f"the site trusts root {root.version} with digest {short_digest(root.digest)}, which is not the vendor's"
        yield ReportFinding("root-unknown", True, text)
    elif not known:
        text = f"root {root.version} is not in the ledger; import a bundle that carries it"
        yield ReportFinding("root-unknown", False, text)
    old = before.trust.alarms if before else ()
    new = [alarm.code for alarm in report.trust.alarms if alarm not in old]
    if new:
        yield ReportFinding("site-alarm", True, f"the site raised an alarm: {', '.join(new[:MAX_NAMED])}")


def _offboarding(report: Report, before: Report | None) -> Iterator[ReportFinding]:
    ended = before.trust.offboarding if before else None
    if before is not None and ended is not None and ended.final:
        text = f"report {before.chain.seq} was the site's last one; no report was expected after it"
        yield ReportFinding("report-after-end", True, text)
    offboarding = report.trust.offboarding
    accepted = [probe.kind for probe in offboarding.probes if probe.outcome == "accepted"] if offboarding else []
    if accepted:
        text = f"after the offboarding the site still accepted: {', '.join(accepted)}"
        yield ReportFinding("still-believed", True, text)


def _installed(report: Report, library: Library) -> Iterator[ReportFinding]:
    """The release that runs, against the vendor's releases."""
    installed = report.install.release
    if installed is None:
        return
    if report.install.revoked:
        yield ReportFinding("running-revoked", True, f"the site runs {installed.version}, which is revoked")
    digest = short_digest(installed.digest)
    known = library.releases.get(installed.digest)
    if known is None:
        other = library.sequences.get((installed.product, installed.channel, installed.epoch, installed.sequence))
        if other is not None:
            text = f"the site runs {digest} as sequence {installed.sequence}, the vendor's is {short_digest(other)}"
            yield ReportFinding("release-never-made", True, text)
        else:
            text = f"release {installed.version} ({digest}) is not in the ledger; import its bundle"
            yield ReportFinding("release-unknown", False, text)
        return
    reported = (installed.product, installed.version, installed.channel, installed.epoch, installed.sequence)
    if reported != (known.product, known.version, known.channel, known.epoch, known.sequence):
        text = f"the report describes release {digest} differently from its bundle"
        yield ReportFinding("release-differs", True, text)
    if installed.product != report.identity.site.split("/")[1]:
        yield ReportFinding("product-other", True, f"a site of another product reports {installed.product}")
    contract = report.policy.contract if report.policy else None
    if contract is not None and contract not in library.contracts:
        text = f"contract {short_digest(contract)} belongs to no release of the ledger"
        yield ReportFinding("contract-unknown", False, text)


def _below_floor(report: Report, before: Report | None, chain: ReportChain) -> Iterator[ReportFinding]:
    """Each rollback below the floor is reported once, with what allowed it as far as the ledger knows."""
    installed, floor = report.install.release, report.trust.floor
    if installed is not None and floor is not None and installed.channel == report.trust.channel:
        mark = (installed.epoch, installed.sequence)
        if report.install.below_floor != (mark < _position(floor)):
            claim = "below" if report.install.below_floor else "not below"
            text = f"it claims to run {claim} its floor; it runs sequence {mark[1]}, its floor is {floor.sequence}"
            yield ReportFinding("floor-contradicts", True, text)
    known = set(before.rollbacks) if before else set()
    for rollback in report.rollbacks:
        if rollback.authorisation is None or rollback in known:
            continue
        action = "tried to roll back" if rollback.automatic else "rolled back"
        text = f"it {action} below its floor by authorisation {short_digest(rollback.authorisation)}"
        number = chain.authorised.get(rollback.authorisation)
        if number is not None:
            yield ReportFinding("below-floor", False, f"{text}, which consignment {number} carried")
        elif rollback.left in chain.authorising or rollback.automatic:
            yield ReportFinding("below-floor", False, f"{text}, which the release itself may carry")
        else:
            yield ReportFinding("below-floor-unknown", True, f"{text}, which nothing in this ledger carried")
    named = any(one.authorisation for one in report.rollbacks) or any(one.what == "rollbacks" for one in report.dropped)
    if report.install.below_floor and not named and not (before and before.install.below_floor):
        yield ReportFinding("below-floor-unknown", True, "it runs below its floor and names no authorisation")


def _contract_breach(report: Report, library: Library) -> Iterator[ReportFinding]:
    """A report may hold what its contract lists and nothing else; the contract itself is read from the ledger."""
    contract = report.policy.contract if report.policy else None
    allowed = library.optional.get(contract) if contract else None
    if contract and allowed is not None and report.store is not None and "store" not in allowed:
        text = f"it holds `store`, which its contract {short_digest(contract)} withholds"
        yield ReportFinding("contract-breach", True, text)


def _components(report: Report, library: Library) -> Iterator[ReportFinding]:
    """What the site observed, against its own expectation and against the known release."""
    listed = report.components.listed
    different = [f"{part.kind} {part.name} ({part.found})" for part in listed if part.found != "same"]
    count = len(different) + report.components.more_other
    if count:
        more = "" if count <= MAX_NAMED else f" and {count - MAX_NAMED} more"
        text = f"different from the release: {', '.join(different[:MAX_NAMED])}{more}"
        yield ReportFinding("drift", True, text)
    installed = report.install.release
    known = library.releases.get(installed.digest) if installed else None
    if known is None:
        return
    wrong, placed_only = [], []
    for part in listed:
        wanted = known.components.get((part.kind, part.name, part.step))
        if wanted is None or wanted.digest != part.expected:
            wrong.append(part)
        elif wanted.wanted == "running" and part.level != "running":
            placed_only.append(part)
    total = len(listed) + report.components.more_same + report.components.more_other
    if wrong:
        text = f"the site expects another digest than the release has: {_named(wrong)}"
        yield ReportFinding("components-differ", True, text)
    elif total != len(known.components):
        text = f"the report counts {total} components, the release has {len(known.components)}"
        yield ReportFinding("components-incomplete", True, text)
    if placed_only:
        text = f"only placed; the release keeps it running: {_named(placed_only)}"
        yield ReportFinding("not-running", True, text)


def _named(parts: list[ReportedComponent]) -> str:
    more = f" and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    return ", ".join(part.name for part in parts[:MAX_NAMED]) + more


def is_as_released(report: Report, library: Library) -> bool:
    """Whether the report lists every component of the known release, each observed as the release has it."""
    installed = report.install.release
    known = library.releases.get(installed.digest) if installed else None
    parts = report.components
    if known is None or parts.more_other or len(parts.listed) + parts.more_same != len(known.components):
        return False
    for part in parts.listed:
        wanted = known.components.get((part.kind, part.name, part.step))
        if wanted is None or part.found != "same" or wanted.digest != part.expected:
            return False
    return True


def count_running(report: Report) -> tuple[int, int]:
    """Return how many components were observed running, and how many there are."""
    parts = report.components
    running = sum(part.level == "running" for part in parts.listed)
    return running, len(parts.listed) + parts.more_same + parts.more_other
