"""The ids of items that are no received release."""

CONFIG = "config"
POLICY = "policy"
OFFBOARD = "offboard"


def export_item(seq: int) -> str:
    """Return the id of the export of one report."""
    return f"e-{seq}"
