"""The command `waybill fleet show`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, with_ledger
from fleet.outgoing.offboard_text import ending_data, ending_text
from fleet.outgoing.views_text import page_text, row_data

if TYPE_CHECKING:
    from sqlalchemy import Engine


@verb(name="show", help="One site: what it runs, what waits there, and the story that its reports tell.")
@click.argument("site")
@fleet_option
def show_command(site: str, place: str | None) -> Result:
    def work(engine: "Engine") -> Result:
        import msgspec

        from fleet.outgoing.offboard import ending_of
        from fleet.outgoing.views import images_of, show_site

        page = show_site(engine, site)
        ending = ending_of(engine, page.row)
        data = {
            "site": {**row_data(page.row), "images": images_of(page.report) if page.report else {}},
            "key": page.enrolment.enrolment.key.keyid,
            "fingerprint": {"groups": page.enrolment.groups, "words": page.enrolment.words},
            "report": msgspec.to_builtins(page.report) if page.report else None,
            "lines": [asdict(one) for one in page.spoken],
            "consignments": [asdict(one) for one in page.sent],
            "ending": ending_data(ending) if ending else None,
            "gaps": [list(gap) for gap in page.gaps],
            "history": [msgspec.to_builtins(one) for one in page.history],
        }
        text = page_text(page, utc_now()) + (f"\n\n{ending_text(ending)}" if ending else "")
        return Result(text, data)

    return with_ledger(place, work)
