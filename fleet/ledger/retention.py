"""Delete telemetry when the time of its contract is over, and record what was deleted.

Every import does this, and whatever else keeps a ledger open. In SQLite deleted bytes are overwritten, in free pages
too (`secure_delete`); in PostgreSQL they are gone with the next vacuum of the table.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from fleet.ledger.tables import deletions, telemetry, telemetry_files


def delete_expired(connection: Connection, now: datetime, waiting_time: timedelta) -> int:
    """Delete what is due in the caller's transaction; return the number of rows.

    Args:
        waiting_time: So long a file waits for a report that names it.
    """
    due = telemetry.c.delete_at <= now
    groups = (telemetry.c.enrolment_id, telemetry.c.signal, telemetry.c.contract)
    counted = select(
        *groups,
        func.count().label("rows"),
        func.min(telemetry.c.start).label("oldest"),
        func.max(telemetry.c.start).label("newest"),
    )
    records = [row._mapping for row in connection.execute(counted.where(due).group_by(*groups))]
    if records:
        connection.execute(insert(deletions), [{**record, "deleted_at": now} for record in records])
        connection.execute(delete(telemetry).where(due))
    late = (telemetry_files.c.standing == "waiting") & (telemetry_files.c.received_at <= now - waiting_time)
    connection.execute(delete(telemetry_files).where(late))
    return sum(record["rows"] for record in records)
