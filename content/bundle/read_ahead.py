"""Read a file or a pipe ahead in a thread of its own."""

import os
import queue
import threading
from collections.abc import Iterator
from typing import Protocol

from content.bundle.places import MemberLocation

BUFFER = 1 << 20


class Region:
    """A blob of the bundle file as a stream."""

    def __init__(self, descriptor: int, place: MemberLocation) -> None:
        self._descriptor = descriptor
        self._at = place.offset
        self._end = place.offset + place.blob.size

    def read(self, count: int, /) -> bytes:
        data = os.pread(self._descriptor, min(count, self._end - self._at), self._at)
        self._at += len(data)
        return data


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes | None: ...


class ReadAhead:
    """Reads a stream in a thread, up to eight pieces ahead, so that reading and hashing overlap."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._pieces: queue.Queue[bytes | OSError] = queue.Queue(maxsize=8)
        self._rest = memoryview(b"")
        self.ended = False
        self.taken = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> "ReadAhead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._pieces.get(timeout=0.05)
            except queue.Empty:
                if self._stop.is_set():
                    return  # blocked in read(): the thread is a daemon and ends with the stream

    def _fill(self) -> None:
        try:
            while not self._stop.is_set():
                piece = self._stream.read(BUFFER)
                self._pieces.put(piece or b"")
                if not piece:
                    return
        except OSError as error:
            self._pieces.put(error)

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Up to ``count`` bytes, fewer only when the stream ends."""
        while count and not self.ended:
            if not self._rest:
                piece = self._pieces.get()
                if isinstance(piece, OSError):
                    raise piece
                if not piece:
                    self.ended = True
                    return
                self._rest = memoryview(piece)
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            self.taken += len(part)
            yield part

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))
