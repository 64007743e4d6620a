"""Format text for a terminal: control characters made visible, columns aligned."""


def visible(text: str) -> str:
    """Text from a document, with control and bidirectional characters shown instead of obeyed."""
    return "".join(c if c == "\n" or not is_hidden(ord(c)) else escape_character(ord(c)) for c in text)


def one_line(text: str) -> str:
    """The same, and line breaks too: a value that could otherwise look like another line of ours."""
    return visible(text).replace("\n", "\\u000a")


def escape_character(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def is_hidden(code: int) -> bool:
    return (
        code < 32
        or 127 <= code < 160
        or code in (0xAD, 0x61C, 0x180E, 0xFEFF)
        or 0x200B <= code <= 0x200F
        or 0x2028 <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xD800 <= code <= 0xDFFF
        or 0xFFF9 <= code <= 0xFFFB
        or 0xE0000 <= code <= 0xE007F
    )


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Plain columns, two spaces apart; no colour, so that it can be piped."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)
