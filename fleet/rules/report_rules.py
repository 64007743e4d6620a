"""The rules for a verified report: each compares it with what the ledger holds and returns findings.

The site wrote the report; nothing here uses the code it was written with. docs/report.md lists the rules by field.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from fleet.rules.values import Library, ReportChain, ReportFinding, claims
from manifests.documents.report import MAX_EARLIER, Report, ReportedComponent
from manifests.documents.report_reader import SignedReport
from manifests.trust.root import Mark
from manifests.words.time import parse_time

CLOCK_SLACK = timedelta(days=1)
MAX_NAMED = 5
# Nobody loses a thousand reports: a number that far ahead would make every honest report that follows a late one.
LARGE_GAP = 1000


def judge(signed: SignedReport, line: ReportChain, library: Library, now: datetime) -> tuple[ReportFinding, ...]:
    """Every finding about a verified report of the site of ``line``, before it is added to the line.

    The report was refused already if it names another site or key epoch: that is identity, not judgement.
    """
    report = signed.report
    found = [*_standing(line), *_key(report, line)]
    branch = [*_aside(signed, line), *_fork(signed, line)]
    forked = bool(branch)
    found += branch
    if line.set_aside_from(signed) is None:
        found += _gap(signed, line)
    found += [*_acknowledged(signed, line), *_challenged(report, line), *_answers(report, line)]
    before, after = line.before(report.chain.seq), line.after(report.chain.seq)
    # What grows, grows along one history; a neighbour from the other branch of a fork proves nothing.
    if before is not None and not forked:
        found += _backwards(before, report, line.challenges)
    if after is not None and not forked:
        found += _backwards(report, after, line.challenges)
    found += _policy(report, before)
    found += _trust(report, before, library)
    found += _offboarding(report, before)
    found += _installed(report, library)
    found += _below(report, before, line)
    found += _breach(report, library)
    found += _components(report, library)
    if parse_time(report.chain.made_at) > now + CLOCK_SLACK:
        found.append(
            ReportFinding("clock-ahead", False, f"the site's clock says {report.chain.made_at}, which is to come")
        )
    return tuple(found)


def _standing(line: ReportChain) -> Iterator[ReportFinding]:
    if line.closed_at is not None:
        yield ReportFinding("site-closed", True, f"the site was closed at {line.closed_at}, and still reports")
    if line.standing == "pending":
        yield ReportFinding("line-pending", False, "by a renewed key that nobody accepted yet: waybill fleet resolve")
    elif line.standing != "current":
        yield ReportFinding("line-former", True, "by a key that speaks for the site no more: another was accepted")


def _key(report: Report, line: ReportChain) -> Iterator[ReportFinding]:
    if line.may_sign(report):
        return
    epoch, seq = report.identity.key_epoch, report.chain.seq
    after, until = line.spans[epoch]
    if seq <= after:
        yield ReportFinding(
            "key-early", True, f"report {seq} is signed by key {epoch}, which begins after report {after}"
        )
    else:
        yield ReportFinding(
            "key-superseded", True, f"report {seq} is signed by key {epoch}, which ended with report {until}"
        )


def _aside(signed: SignedReport, line: ReportChain) -> Iterator[ReportFinding]:
    for seq, digest in claims(signed):
        if digest in line.refused.get(seq, ()):
            yield ReportFinding(
                "branch-refused",
                True,
                f"it goes on from {digest[:19]} at place {seq}, which was set aside: that folder, or copy, still lives",
            )
            return


def _fork(signed: SignedReport, line: ReportChain) -> Iterator[ReportFinding]:
    for seq, digest in claims(signed):
        known = line.places.get(seq, set())
        if known <= {digest}:
            continue
        what = "the enrolment" if seq == 0 else f"report {seq}"
        if digest in known and signed.digest != digest:
            yield ReportFinding("site-forked", True, f"its site stands forked since {what}")
        else:
            others = ", ".join(sorted(one[:19] for one in known - {digest}))
            yield ReportFinding(
                "report-forked",
                True,
                f"{what} is {digest[:19]} here and {others} elsewhere: two histories are signed by one key; "
                "a copied or restored site folder does that, and a stolen key",
            )
        return


def _gap(signed: SignedReport, line: ReportChain) -> Iterator[ReportFinding]:
    chain = signed.report.chain
    first, last = line.newest + 1, chain.seq - 1
    if chain.seq < line.newest:
        yield ReportFinding("report-late", False, f"report {chain.seq} came after report {line.newest}")
    elif first <= last:
        told = last - first < MAX_EARLIER and {one.seq for one in chain.earlier} >= set(range(first, chain.seq))
        text = f"report {first} is not here" if first == last else f"reports {first} to {last} are not here"
        large = last - first >= LARGE_GAP
        yield ReportFinding("report-gap", large, text + ("; this one sums up what happened" if told else ""))


def _acknowledged(signed: SignedReport, line: ReportChain) -> Iterator[ReportFinding]:
    said = signed.report.chain.acknowledged
    if said is None or said.digest in line.acknowledged:
        return
    why = "is here and was never acknowledged" if said.digest in line.held_digests else "was never here"
    yield ReportFinding(
        "acknowledgement-unknown",
        True,
        f"the site holds an acknowledgement of report {said.seq} ({said.digest[:19]}), which {why}",
    )


def _challenged(report: Report, line: ReportChain) -> Iterator[ReportFinding]:
    """A report that echoes a challenge was signed after that was made, whatever the site's clock says."""
    echoed = report.chain.challenge
    if echoed is None:
        return
    made_at = line.challenges.get(echoed)
    if made_at is None:
        yield ReportFinding(
            "challenge-unknown", True, f"the site echoes challenge {echoed[:19]}, which was never made for it"
        )
    elif report.chain.made_at < made_at:
        yield ReportFinding(
            "clock-behind",
            False,
            f"the site's clock says {report.chain.made_at}, and it holds a challenge that was made at {made_at}",
        )


def _answers(report: Report, line: ReportChain) -> Iterator[ReportFinding]:
    """An answer is to a request that was made; a site that answers what nobody asked was asked by somebody else."""
    for one in report.requests:
        handler = line.asked.get((one.consignment, one.request))
        if handler != one.handler:
            yield ReportFinding(
                "request-unknown",
                True,
                f"it answers request {one.request} ({one.handler}) of consignment {one.consignment}, "
                + ("which was never made" if handler is None else f"which asked for {handler}"),
            )
            return


def _backwards(older: Report, newer: Report, challenges: Mapping[str, str]) -> Iterator[ReportFinding]:
    """What may only grow from one report to a later one."""
    a, b = older.chain.journal, newer.chain.journal
    seqs = f"from report {older.chain.seq} to report {newer.chain.seq}"
    if b.entries < a.entries or (b.entries == a.entries and b.head != a.head):
        yield ReportFinding(
            "journal-truncated", True, f"the site's journal goes from {a.entries} to {b.entries} entries {seqs}"
        )
    falls = [
        name
        for name, before, after in (
            ("floor", _place(older.trust.floor), _place(newer.trust.floor)),
            ("mark", _place(older.trust.mark), _place(newer.trust.mark)),
            ("root version", older.trust.root.version, newer.trust.root.version),
            ("revocation list", older.trust.revocations, newer.trust.revocations),
            ("time floor", older.trust.time_floor or "", newer.trust.time_floor or ""),
            ("policy number", older.policy.number if older.policy else 0, newer.policy.number if newer.policy else 0),
            ("challenge", _asked(older, challenges), _asked(newer, challenges)),
            ("acknowledgement", _acknowledgement(older), _acknowledgement(newer)),
        )
        if _falls(before, after)
    ]
    if newer.trust.roots_replaced > older.trust.roots_replaced:
        yield ReportFinding("root-replaced", True, f"the site's root was replaced on paper {seqs}")
        falls = [name for name in falls if name != "root version"]
    # A mark belongs to a channel; another channel counts anew.
    if older.trust.channel != newer.trust.channel:
        falls = [name for name in falls if name not in ("floor", "mark")]
    if falls:
        yield ReportFinding("state-went-back", True, f"{', '.join(falls)} went back {seqs}")
    a_policy, b_policy = older.policy, newer.policy
    if a_policy and b_policy and a_policy.number == b_policy.number and a_policy.digest != b_policy.digest:
        yield ReportFinding("policy-swapped", True, f"policy {b_policy.number} has another digest {seqs}")
    told = {one.number: one.release for one in older.install.generations}
    reused = [one.number for one in newer.install.generations if told.get(one.number, one.release) != one.release]
    if reused:
        yield ReportFinding("generation-swapped", True, f"generation {reused[0]} is another release {seqs}")


def _policy(report: Report, before: Report | None) -> Iterator[ReportFinding]:
    """What the customer's people did out of the ordinary, told once: as of the first report that says so."""
    now, old = report.policy, before.policy if before else None
    if now is None:
        return
    known = {(one.rule, one.plan) for one in old.emergency} if old else set()
    for use in now.emergency:
        if (use.rule, use.plan) not in known:
            yield ReportFinding(
                "emergency-used",
                False,
                f"release {use.release[:19]} was agreed to by the emergency rule {use.rule} of policy {use.policy}",
            )
    if now.refounded is not None and (old is None or old.refounded != now.refounded):
        yield ReportFinding(
            "policy-refounded",
            True,
            f"policy {now.refounded} was founded anew, without the quorum of the one before: ask the customer whether "
            f"the paper they signed names {now.digest[:19] if now.refounded == now.number else 'that policy'}",
        )


def _asked(report: Report, challenges: Mapping[str, str]) -> str:
    return challenges.get(report.chain.challenge or "", "")


def _acknowledgement(report: Report) -> int:
    return report.chain.acknowledged.seq if report.chain.acknowledged else 0


def _place(mark: Mark | None) -> tuple[int, int]:
    return (0, 0) if mark is None else (mark.epoch, mark.sequence)


def _falls(before: object, after: object) -> bool:
    return bool(after < before)  # type: ignore[operator]  # pairs of one type, as listed above


def _trust(report: Report, before: Report | None, library: Library) -> Iterator[ReportFinding]:
    root = report.trust.root
    known = library.roots.get(root.version, frozenset())
    if known and root.digest not in known:
        yield ReportFinding("root-unknown", True, f"the site trusts another root {root.version} than the vendor made")
    elif not known:
        yield ReportFinding(
            "root-unknown", False, f"root {root.version} is not in the ledger; import a bundle that carries it"
        )
    old = before.trust.alarms if before else ()
    new = [one.code for one in report.trust.alarms if one not in old]
    if new:
        yield ReportFinding("site-alarm", True, f"the site raised an alarm: {', '.join(new[:MAX_NAMED])}")


def _offboarding(report: Report, before: Report | None) -> Iterator[ReportFinding]:
    ended = before.trust.offboarding if before else None
    if before is not None and ended is not None and ended.final:
        yield ReportFinding(
            "report-after-end", True, f"the site said with report {before.chain.seq} that no report would follow"
        )
    said = report.trust.offboarding
    believed = [one.kind for one in said.probes if one.outcome == "accepted"] if said else []
    if believed:
        yield ReportFinding(
            "still-believed", True, f"after the offboarding the site still accepted: {', '.join(believed)}"
        )


def _installed(report: Report, library: Library) -> Iterator[ReportFinding]:
    installed = report.install.release
    if installed is None:
        return
    if report.install.revoked:
        yield ReportFinding("running-revoked", True, f"the site runs {installed.version}, which is revoked")
    known = library.releases.get(installed.digest)
    said = (installed.product, installed.version, installed.channel, installed.epoch, installed.sequence)
    if known is None:
        other = library.sequences.get((installed.product, installed.channel, installed.epoch, installed.sequence))
        if other is not None:
            yield ReportFinding(
                "release-never-made",
                True,
                f"the site runs {installed.digest[:19]} as sequence {installed.sequence}, the vendor's is {other[:19]}",
            )
        else:
            yield ReportFinding(
                "release-unknown",
                False,
                f"release {installed.version} ({installed.digest[:19]}) is not in the ledger; import its bundle",
            )
        return
    if said != (known.product, known.version, known.channel, known.epoch, known.sequence):
        yield ReportFinding(
            "release-differs", True, f"the report tells release {installed.digest[:19]} otherwise than it is"
        )
    if installed.product != report.identity.site.split("/")[1]:
        yield ReportFinding("product-other", True, f"a site of another product reports {installed.product}")
    contract = report.policy.contract if report.policy else None
    if contract is not None and contract not in library.contracts:
        yield ReportFinding("contract-unknown", False, f"contract {contract[:19]} belongs to no release of the ledger")


def _below(report: Report, before: Report | None, line: ReportChain) -> Iterator[ReportFinding]:
    """Each way below the floor is told once, with whoever allowed it as far as the ledger knows."""
    installed, floor = report.install.release, report.trust.floor
    if installed is not None and floor is not None and installed.channel == report.trust.channel:
        mark = (installed.epoch, installed.sequence)
        if report.install.below_floor != (mark < _place(floor)):
            said = "below" if report.install.below_floor else "not below"
            yield ReportFinding(
                "floor-contradicts",
                True,
                f"it says that it runs {said} its floor, and runs sequence {mark[1]} with floor {floor.sequence}",
            )
    known = set(before.rollbacks) if before else set()
    for one in report.rollbacks:
        if one.authorisation is None or one in known:
            continue
        done = "tried to go back" if one.automatic else "went back"
        words = f"it {done} below its floor by authorisation {one.authorisation[:19]}"
        number = line.authorised.get(one.authorisation)
        if number is not None:
            yield ReportFinding("below-floor", False, f"{words}, which consignment {number} carried")
        elif one.left in line.sealing or one.automatic:
            yield ReportFinding("below-floor", False, f"{words}, as one that the release itself carries may allow")
        else:
            yield ReportFinding("below-floor-unknown", True, f"{words}, which nothing in this ledger carried")
    told = any(one.authorisation for one in report.rollbacks) or any(one.what == "rollbacks" for one in report.dropped)
    if report.install.below_floor and not told and not (before and before.install.below_floor):
        yield ReportFinding("below-floor-unknown", True, "it runs below its floor, and names no authorisation")


def _breach(report: Report, library: Library) -> Iterator[ReportFinding]:
    """A report may hold what its contract lists, and nothing else; the ledger reads that in the contract itself."""
    contract = report.policy.contract if report.policy else None
    allowed = library.optional.get(contract or "")
    if allowed is not None and report.store is not None and "store" not in allowed:
        yield ReportFinding(
            "contract-breach", True, f"it holds `store`, which its contract {str(contract)[:19]} withholds"
        )


def _components(report: Report, library: Library) -> Iterator[ReportFinding]:
    listed = report.components.listed
    off = [f"{one.kind} {one.name} ({one.found})" for one in listed if one.found != "same"]
    count = len(off) + report.components.more_other
    if count:
        more = "" if count <= MAX_NAMED else f" and {count - MAX_NAMED} more"
        yield ReportFinding("drift", True, f"not as the release has it: {', '.join(off[:MAX_NAMED])}{more}")
    installed = report.install.release
    known = library.releases.get(installed.digest) if installed else None
    if known is None:
        return
    wrong, still = [], []
    for one in listed:
        want = known.components.get((one.kind, one.name, one.step))
        if want is None or want.digest != one.expected:
            wrong.append(one)
        elif want.wanted == "running" and one.level != "running":
            still.append(one)
    told = len(listed) + report.components.more_same + report.components.more_other
    if wrong:
        yield ReportFinding("components-differ", True, f"expected otherwise than the release says: {_named(wrong)}")
    elif told != len(known.components):
        yield ReportFinding(
            "components-incomplete", True, f"{told} components are told of, the release has {len(known.components)}"
        )
    if still:
        yield ReportFinding("not-running", True, f"only placed, and the release keeps it running: {_named(still)}")


def _named(parts: list[ReportedComponent]) -> str:
    more = f" and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    return ", ".join(one.name for one in parts[:MAX_NAMED]) + more


def is_as_released(report: Report, library: Library) -> bool:
    """Every part that the report lists is the one of the release that the ledger holds, and seen to be so."""
    installed = report.install.release
    known = library.releases.get(installed.digest) if installed else None
    parts = report.components
    if known is None or parts.more_other or len(parts.listed) + parts.more_same != len(known.components):
        return False
    for one in parts.listed:
        want = known.components.get((one.kind, one.name, one.step))
        if want is None or one.found != "same" or want.digest != one.expected:
            return False
    return True


def count_running(report: Report) -> tuple[int, int]:
    """How many components were seen running, of how many."""
    parts = report.components
    running = sum(one.level == "running" for one in parts.listed)
    return running, len(parts.listed) + parts.more_same + parts.more_other
