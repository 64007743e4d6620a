"""Check the tar around the members of a bundle, for a caller that hashes the members while it copies them."""

from content.bundle.bulk import check_end, check_header, check_padding, damaged_file
from content.bundle.places import Bulk


def verify_frame(descriptor: int, bulk: Bulk, what: str) -> None:
    """Check headers, padding and end alone. Raises DamagedError as `content.bundle.bulk.verify_file`."""
    ranges = [
        damaged
        for place in bulk.present
        for damaged in (*check_header(descriptor, place), *check_padding(descriptor, place))
    ]
    if ranges:
        raise damaged_file(descriptor, bulk, ranges, what)
    check_end(descriptor, bulk, what)
