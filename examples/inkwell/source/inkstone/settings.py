"""Settings of one program: a JSON file and a data folder."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """The settings are wrong; the message is one line for the operator."""


@dataclass(frozen=True)
class Settings:
    """The site's configuration, which its schema has accepted.

    Attributes:
        hostname: Public host name of the service.
        port: Port to listen on, at 127.0.0.1, behind a proxy of the site.
        greeting: Response to ``GET /``.
        most_waiting: Queue limit; more jobs are refused.
        data: Data folder that all versions share.
    """

    hostname: str
    port: int
    data: Path
    greeting: str = "Ready to sign."
    most_waiting: int = 1000


_KINDS = {"hostname": str, "port": int, "greeting": str, "most_waiting": int, "data": str}


def read_settings(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read settings from ``--config`` or WAYBILL_CONFIG; ``data`` in the file, else ``--data``, else WAYBILL_DATA.

    Raises:
        SettingsError: A file is missing, or a value has the wrong type.
    """
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config", default=environment.get("WAYBILL_CONFIG"), help="JSON file (WAYBILL_CONFIG)")
    parser.add_argument("--data", default=environment.get("WAYBILL_DATA"), help="data folder (WAYBILL_DATA)")
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
        raise SettingsError("no data folder: give --data DIR or set WAYBILL_DATA")
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
