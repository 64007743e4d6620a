"""The interface by which long work reports its progress."""

from collections.abc import Callable

# Called with the number of bytes that were done since the last call.
ProgressCallback = Callable[[int], None]


def no_progress(_: int) -> None:
    """Discard the progress."""


class Progress:
    """Takes progress of long work; this base class discards it."""

    def advance(self, count: int) -> None:
        """Record that ``count`` more bytes are done."""
