"""Settings of one program: a JSON file, and a folder for what it keeps."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """What is wrong with the settings, in one line for the operator."""


@dataclass(frozen=True)
class Settings:
    """The site's configuration, as its schema allowed it.

    Attributes:
        hostname: The name under which people reach the service.
        port: Where it listens, on 127.0.0.1; a proxy of the site stands before it.
        greeting: What ``GET /`` says.
        most_waiting: More jobs than this are refused.
        data: Folder that outlives versions.
    """

    hostname: str
    port: int
    data: Path
    greeting: str = "Ready to sign."
    most_waiting: int = 1000


_KINDS = {"hostname": str, "port": int, "greeting": str, "most_waiting": int, "data": str}


def read_settings(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from ``--config`` or WAYBILL_CONFIG; ``data`` in the file, else ``--data``, else WAYBILL_DATA.

    Raises:
        SettingsError: A file is missing, or a value does not fit.
    """
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config", default=environment.get("WAYBILL_CONFIG"), help="JSON file (WAYBILL_CONFIG)")
    parser.add_argument("--data", default=environment.get("WAYBILL_DATA"), help="folder to keep (WAYBILL_DATA)")
    given = parser.parse_args(arguments)
    if given.config is None:
        raise SettingsError("no configuration: give --config FILE or set WAYBILL_CONFIG")
    values = _read_object(Path(given.config))
    for name, value in values.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise SettingsError(f"{given.config}: {name} is unknown, expected {', '.join(_KINDS)}")
        if type(value) is not kind:
            raise SettingsError(f"{given.config}: {name} is {value!r}, expected {kind.__name__}")
    for name in ("hostname", "port"):
        if name not in values:
            raise SettingsError(f"{given.config}: {name} is missing")
    data = values.pop("data", given.data)
    if data is None:
        raise SettingsError("no folder to keep data in: give --data DIR or set WAYBILL_DATA")
    return Settings(data=Path(data), **values)


def _read_object(path: Path) -> dict:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: found {type(values).__name__}, expected an object")
    return values
