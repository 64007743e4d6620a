"""Show counts, sizes and durations to people."""


def show_size(count: int) -> str:
    """For people: the largest binary unit that keeps at least one before the point."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def show_times(count: int) -> str:
    """How often something was seen, as ``once`` or ``3 times``."""
    return "once" if count == 1 else f"{count} times"


def show_count(count: int, noun: str) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_are(count: int, noun: str) -> str:
    return f"{show_count(count, noun)} {'is' if count == 1 else 'are'}"


def show_duration(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
