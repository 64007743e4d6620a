"""The interface by which long work reports its progress."""

from collections.abc import Callable

# Called with the number of bytes that were done since the last call.
ProgressCallback = Callable[[int], None]


def no_progress(_: int) -> None:
    """Report to nobody."""


class Progress:
    """Reports how far long work has come; this one reports to nobody."""

    def advance(self, count: int) -> None:
        """``count`` more bytes are done."""
