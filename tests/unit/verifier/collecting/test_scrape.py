"""Scrapes of real servers on loopback: what hangs, redirects, sends too much or lies is counted, and harms nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.counting import CountingVendor, make_counting
from verifier.collecting import scrape

TEXT = b"# TYPE shop_requests_total counter\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer every connection with ``answer``; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        answer(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def with_length(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_a_counter_is_counted_from_scrape_to_scrape(tmp_path: Path) -> None:
    values = iter((10, 13, 20, 20))

    def answer(connection: socket.socket) -> None:
        value = next(values)
        lines = f'shop_requests_total{{route="intake",user="alice"}} {value}\nshop_requests_total{{route="x"}} 5\n'
        connection.sendall(with_length(TEXT + lines.encode()))

    with server(answer) as address:
        counting = make_counting(tmp_path, endpoints={"metrics": address})
        for _ in range(3):
            assert counting.collect(minutes=1).looks[0].problem is None
        counting.collect(minutes=5)
    assert counting.total("requests", "increase", route="intake") == 10
    assert counting.dropped("requests")["label-value"] == 4


def test_signals_of_one_address_share_one_request(tmp_path: Path) -> None:
    asked = []

    def answer(connection: socket.socket) -> None:
        asked.append(1)
        connection.sendall(with_length(b"a_total 1\nb_total 2\n"))

    signals = "".join(
        f"  - {{name: {name}, kind: metrics, from: {{prometheus: metrics, series: {name}_total}}, per: 5m, rows: 9,\n"
        "     fields: {increase: {integer: [0, 9]}}, why: load}\n"
        for name in "ab"
    )
    with server(answer) as address:
        counting = make_counting(tmp_path, CountingVendor(signals=signals), {"metrics": address})
        assert [look.problem for look in counting.collect().looks] == [None, None]
    assert asked == [1]


def trickle(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    for _ in range(100):
        connection.sendall(b"#")
        time.sleep(0.1)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def flood(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"shop_requests_total 1\n" * 10_000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            "source-unreadable",
        ),
        (says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), "source-unreadable"),
        (says(b"\0\1\2 no http"), "source-unreadable"),
        (says(b""), "source-unreadable"),
        (says(OK + b"Content-Length: 9999\r\n\r\nshop_requests_total 1\n"), "source-unreadable"),
        (says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshop_"), "source-unreadable"),
        (says(OK + b"Content-Length: 99999999999\r\n\r\n"), "too-long"),
        (says(OK.replace(b"text/plain", b"text/html") + b"\r\nshop_requests_total 1\n"), "malformed"),
        (says(OK + b"Content-Encoding: gzip\r\n\r\nshop_requests_total 1\n"), "malformed"),
        (hang, "time-limit"),
        (trickle, "time-limit"),
        (flood, "too-long"),
    ],
    ids=lambda value: getattr(value, "__name__", value) if not isinstance(value, str) else value,
)
def test_a_target_that_misbehaves_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[socket.socket], None], reason: str
) -> None:
    monkeypatch.setattr(scrape, "MAX_SCRAPE", 4 << 20)
    monkeypatch.setattr("verifier.collecting.sources.SCRAPE_SECONDS", 0.5 if reason == "time-limit" else 10.0)
    with server(answer) as address:
        counting = make_counting(tmp_path, endpoints={"metrics": address})
        begun = time.monotonic()
        look = counting.collect().looks[0]
        assert time.monotonic() - begun < 20
    assert (look.problem, look.dropped) == (reason, {reason: 1})
    assert [other.problem for other in counting.collect().looks[1:]] == [None, None]


def test_a_body_of_another_kind_under_the_right_type_is_malformed(tmp_path: Path) -> None:
    """Binary samples under ``text/plain``."""
    with server(says(with_length(b"shop_requests_total \xff\xfe\0 1 2 3 4\nshop_requests_total{ 1\n"))) as address:
        counting = make_counting(tmp_path, endpoints={"metrics": address})
        look = counting.collect().looks[0]
    assert (look.problem, look.dropped) == (None, {"malformed": 2})


def test_nothing_listens_and_other_forms_of_addresses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    counting = make_counting(tmp_path, endpoints={"metrics": address, "product_log": "journal:x", "spans": ""})
    assert [look.problem for look in counting.collect().looks] == [
        "source-unreadable",
        "source-unreadable",
        "source-missing",
    ]


def test_a_scrape_that_ends_early_changes_no_count(tmp_path: Path) -> None:
    bodies = [with_length(TEXT + b'shop_requests_total{route="intake"} 5\n')]
    bodies.append(OK + b"Content-Length: 9999\r\n\r\n" + TEXT + b'shop_requests_total{route="intake"} 900\n')
    bodies.append(with_length(TEXT + b'shop_requests_total{route="intake"} 7\n'))
    left = iter(bodies)
    with server(lambda connection: connection.sendall(next(left))) as address:
        counting = make_counting(tmp_path, endpoints={"metrics": address})
        problems = [counting.collect().looks[0].problem for _ in bodies]
    assert problems == [None, "source-unreadable", None]
    counting.collect(minutes=5)
    kept = (counting.place.path / "telemetry" / "requests.json").read_text()
    assert '"increase":2' not in kept  # the interval is closed by the next look that succeeds only
    assert "900" not in kept
