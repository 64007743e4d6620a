"""Log files of container runtimes: any bytes, in any pieces, give the same messages; none is lost or read twice."""

import json

from hypothesis import given
from hypothesis import strategies as st

from content.telemetry.container_log import MAX_RAW, ContainerLog
from content.telemetry.logs import MAX_LINE

CRI = b"2026-11-30T19:00:00.123456789Z "
LINES = st.one_of(
    st.builds(
        lambda text, end, stream: json.dumps({"log": text + end, "stream": stream}).encode(),
        st.text(max_size=9),
        st.sampled_from(["", "\n"]),
        st.sampled_from(["stdout", "stderr"]),
    ),
    st.builds(
        lambda stream, tag, text: CRI + stream + b" " + tag + b" " + text,
        st.sampled_from([b"stdout", b"stderr"]),
        st.sampled_from([b"P", b"F", b"F:x"]),
        st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")),
    ),
    st.binary(max_size=30),
)


@given(st.lists(LINES, max_size=12), st.data())
def test_the_pieces_in_which_it_is_read_do_not_matter(lines: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(line + b"\n" for line in lines)
    whole = ContainerLog()
    messages = whole.feed(raw)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    parts = ContainerLog()
    pieces = [parts.feed(raw[start:end]) for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert b"".join(pieces) == messages
    assert (parts.consumed, parts.malformed) == (whole.consumed, whole.malformed)
    assert messages == b"" or messages.endswith(b"\n")


@given(st.lists(LINES, max_size=12), st.integers(0, 400))
def test_reading_on_from_what_was_consumed_loses_and_repeats_nothing(lines: list[bytes], cut: int) -> None:
    raw = b"".join(line + b"\n" for line in lines)
    first = ContainerLog()
    messages = first.feed(raw[:cut])
    assert messages + ContainerLog().feed(raw[first.consumed :]) == ContainerLog().feed(raw)


def test_messages_that_wait_for_the_other_stream_are_bounded() -> None:
    log = ContainerLog()
    assert log.feed(CRI + b"stdout P begun\n" + CRI + b"stderr F first\n") == b""
    assert log.consumed == 0
    line = CRI + b"stderr F " + b"x" * 60_000 + b"\n"
    messages = b"".join(log.feed(line) for _ in range(80))
    assert messages.startswith(b"first\n")
    assert (log.malformed, messages.count(b"\n") > 60) == (1, True)
    waiting = ContainerLog()
    waiting.feed(CRI + b"stdout P begun\n" + CRI + b"stderr F first\n")
    assert waiting.give_up() == b"first\n"


def test_what_is_too_long_is_counted_and_the_next_message_is_read() -> None:
    log = ContainerLog()
    pieces = CRI + b"stdout P " + b"x" * 1000 + b"\n"
    messages = log.feed(pieces * 200 + CRI + b"stdout F end\n" + CRI + b"stdout F next\n")
    long, following = messages.splitlines()
    assert (len(long), following) == (MAX_LINE + 1, b"next")
    log = ContainerLog()
    assert log.feed(b"{" * (MAX_RAW + 9)) == b""
    assert log.feed(b"\n" + CRI + b"stderr F next\n") == b"next\n"
    assert log.malformed == 1
