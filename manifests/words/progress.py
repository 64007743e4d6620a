"""The interface by which long work reports its progress."""


class Progress:
    """Told how far long work has come; the base does nothing."""

    def advance(self, count: int) -> None:
        """``count`` more bytes are done."""
