"""Run commands in one process with a fixed clock and published keys, and keep what they print.

A result is computed once and printed four times: on a real pseudo terminal of 80, 100 and 160 columns, and without one.
"""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import console.options
import console.output
import waybill
from console import clock
from console.output import print_result
from console.result import Result
from manifests.trust import private_keys
from manifests.trust.private_keys import FileSigner, encode_private
from tests.place import Clock
from tests.vendor import derived
from verifier.site import host
from verifier.site.disk import Disk, Space

WIDTHS = ("80", "100", "160", "plain")
OURS = ("verifier.", "content.", "manifests.", "bundler.", "fleet.", "console.")
HEX = re.compile(r"\b(?:[0-9a-f]{12}|[0-9a-f]{64})\b")
SIZE = re.compile(r"\b[0-9]{2,}\.[0-9] KiB")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Folders have names of one length, so that lines break at the same place everywhere.
FOLDER = "/tmp/waybill-screens-"
ALWAYS_FREE = Space(bytes=100 << 30, inodes=1_000_000, device=1, block=4096)


@dataclass
class Stage:
    """A folder, a clock, and ``waybill`` in it.

    Attributes:
        screens: What was printed, by name and then by width.
    """

    folder: Path
    clock: Clock = field(default_factory=Clock)
    screens: dict[str, dict[str, str]] = field(default_factory=dict)
    _keys: int = 300

    def run(self, *arguments: object) -> dict[str, str]:
        """Run ``waybill ARGUMENTS``; what it prints, by width. A command that fails prints its error."""
        printed: dict[str, str] = {}

        def keep(result: Result, *, as_json: bool) -> None:
            for width in WIDTHS:
                printed[width] = self._stable(_print(result, width))

        with patch.object(console.options, "print_result", keep):
            try:
                waybill.cli.main([str(one) for one in arguments], prog_name="waybill", standalone_mode=False)
            except SystemExit:
                self.clock.sleep(60)
        return printed

    def screen(self, name: str, *arguments: object) -> None:
        """Run a command, and keep what it prints under ``name``."""
        assert name not in self.screens, name
        self.screens[name] = self.run(*arguments)

    def preview(self, name: str, *arguments: object) -> None:
        """Run a command, and keep what it says before its result under ``name``: its messages, not its result."""
        assert name not in self.screens, name
        said: list[str] = []
        with ExitStack() as stack:
            _everywhere(stack, console.output.say, said.append)
            self.run(*arguments)
        text = "\n".join(said)
        self.screens[name] = {width: self._stable(_print(Result(text), width)) for width in WIDTHS}

    def key(self, name: str, signer: FileSigner) -> Path:
        """Files NAME.key and NAME.pub of ``signer``; the path of the private one."""
        path = Path(f"{name}.key")
        path.write_bytes(encode_private(signer, None))
        path.chmod(0o600)
        path.with_suffix(".pub").write_text(signer.public.pem)
        return path

    def next_key(self) -> FileSigner:
        self._keys += 1
        return derived(self._keys)

    def _stable(self, text: str) -> str:
        """``text`` with values that depend on the folder's name replaced by others of the same width."""
        # A narrow column may fold the path: the random end of the name is replaced wherever it stands.
        end = str(self.folder).removeprefix(FOLDER)
        text = text.replace(end, "_" * len(end))
        text = HEX.sub(lambda match: ("0123456789abcdef" * 4)[: len(match[0])], text)
        return SIZE.sub(lambda match: re.sub("[0-9]", "0", match[0]), text)


@contextmanager
def open_stage() -> Iterator[Stage]:
    """A stage in a folder of its own that is the current one until the block ends."""
    for module, _ in waybill.COMMANDS.values():
        import_module(module.partition(":")[0])
    before = Path.cwd()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WAYBILL_")}
    with (
        tempfile.TemporaryDirectory(prefix=Path(FOLDER).name, dir=Path(FOLDER).parent) as folder,
        ExitStack() as stack,
        patch.dict(os.environ, {**environ, "WAYBILL_SITE": "site", "HOME": folder}, clear=True),
    ):
        stage = Stage(Path(folder))
        stack.callback(os.chdir, before)
        os.chdir(folder)
        stack.enter_context(patch("secrets.token_bytes", lambda count: bytes(count)))
        stack.enter_context(patch.object(Disk, "space", lambda self, path: ALWAYS_FREE))
        for original, replacement in (
            (clock.utc_now, lambda: stage.clock.at),
            (host.this_host, lambda: stage.clock.host()),
            (host.owner_of, lambda path: "ops1"),
            (private_keys.generate_key, stage.next_key),
        ):
            _everywhere(stack, original, replacement)
        yield stage


def _everywhere(stack: ExitStack, original: object, replacement: Callable[..., object]) -> None:
    """Put ``replacement`` in each module of ours that imported ``original`` by its name."""
    for name, module in list(sys.modules.items()):
        if name.startswith(OURS):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    stack.enter_context(patch.object(module, attribute, replacement))


def _print(result: Result, width: str) -> str:
    if width == "plain":
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
            print_result(result, as_json=False)
        assert not ANSI.search(out.getvalue())
        return out.getvalue()
    return ANSI.sub("", _on_terminal(lambda: print_result(result, as_json=False), int(width)))


def _on_terminal(function: Callable[[], None], columns: int) -> str:
    """What ``function`` prints when stdout and stderr are a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    tty.setraw(slave)
    read = bytearray()
    reader = threading.Thread(target=_drain, args=(master, read))
    reader.start()
    with os.fdopen(slave, "w", encoding="utf-8") as out, redirect_stdout(out), redirect_stderr(out):
        function()
    reader.join()
    os.close(master)
    return read.decode()


def _drain(master: int, read: bytearray) -> None:
    # Linux ends a terminal that nobody writes to any more with EIO.
    try:
        while data := os.read(master, 4096):
            read += data
    except OSError:
        return
