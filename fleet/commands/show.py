"""The command `waybill fleet show`."""

import click
import msgspec
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import verb
from console.output import VERBOSE, is_set
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from fleet.outgoing.offboard import OffboardingState, offboarding_state
from fleet.outgoing.offboard_text import offboarding_data
from fleet.outgoing.views import SitePage, images_of, show_site
from fleet.outgoing.views_text import page_text, row_data


@verb(
    name="show",
    short_help="Show one site with its history.",
    examples=("waybill fleet show east", "waybill fleet show northern-grid/inkwell/production/east --verbose"),
)
@click.argument("site")
@fleet_option
def show_command(site: str, place: str | None) -> Result:
    """Show what SITE runs, what waits there, and the history that its reports tell.

    SITE is a whole id or the end of one.
    """

    def work(engine: Engine) -> Result:
        page = show_site(engine, site)
        ending = offboarding_state(engine, page.row)
        text = page_text(page, ending, utc_now(), verbose=is_set(VERBOSE))
        return Result(text, _as_data(page, ending))

    return with_ledger(place, work)


def _as_data(page: SitePage, ending: OffboardingState | None) -> dict[str, object]:
    return {
        "site": {**row_data(page.row), "images": images_of(page.report) if page.report else {}},
        "key": page.enrolment.enrolment.key.keyid,
        "fingerprint": {"groups": page.enrolment.groups, "words": page.enrolment.words},
        "report": msgspec.to_builtins(page.report) if page.report else None,
        "lines": msgspec.to_builtins(page.claims),
        "consignments": msgspec.to_builtins(page.sent),
        "ending": offboarding_data(ending) if ending else None,
        "gaps": [list(gap) for gap in page.gaps],
        "history": [{**msgspec.to_builtins(event), "at": event.at or ""} for event in page.history],
    }
