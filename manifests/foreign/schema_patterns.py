"""Compile the patterns of a config schema for RE2, whose search takes time linear in the text."""

from typing import Protocol, cast

from manifests.words.errors import MalformedError

MAX_PATTERN = 1000
# Bytes of a compiled pattern; RE2 refuses one that needs more.
PATTERN_MEMORY = 1 << 20


class Pattern(Protocol):
    def search(self, text: str) -> object | None: ...


def compile_pattern(pattern: str, where: str) -> Pattern:
    """Return the compiled pattern.

    Raises:
        MalformedError: Too long, or not in RE2's syntax: no look-around, no back references.
    """
    import re2  # loaded only for a schema that has patterns

    if len(pattern) > MAX_PATTERN:
        problem = f"a pattern has {len(pattern)} characters, at most {MAX_PATTERN} are allowed"
        raise MalformedError(problem, where=where, finding="schema-pattern")
    options = re2.Options()
    options.max_mem, options.log_errors = PATTERN_MEMORY, False
    try:
        return cast(Pattern, re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        problem = f"the pattern {pattern[:100]!r} is not in RE2's syntax: {reason}"
        remedy = "write it without look-around and back references (github.com/google/re2/wiki/Syntax)"
        raise MalformedError(problem, where=where, remedy=remedy, finding="schema-pattern") from None
