"""The values of ``site.yaml`` that only the site knows: what is asked at a terminal, and how an answer is written."""

import json
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from shlex import quote

import msgspec

from content.differences.config import HIDDEN, hidden_by, leaves
from manifests.authored.site_yaml import Address, ProgramDriverFile, RegistryDriverFile
from manifests.foreign.config_schema import Json
from manifests.words.errors import UsageError
from verifier.intake.enrolment_files import VendorOffer, asked_endpoints, proposed_drivers

_INTEGER = re.compile(r"\A-?(?:0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"\A-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?\Z")


@dataclass(frozen=True)
class Question:
    """A value to ask for.

    Attributes:
        setting: Its key in ``site.yaml``, such as ``endpoints.api``.
        what: What it is, with its form.
        write: Returns the answer as it is written in the file; raises UsageError for one that cannot hold.
    """

    setting: str
    what: str
    write: Callable[[str], str]


def questions_of(offer: VendorOffer) -> tuple[Question, ...]:
    """Return what can be asked for the release, in the order of the file. Other placeholders are filled in by hand."""
    drivers = {
        "registry.endpoint": Question("registry.endpoint", "the site's registry, HOST:PORT", _registry),
        "program.user": Question("program.user", "account without rights, for programs of the release", _account),
    }
    questions = [drivers[setting] for setting in proposed_drivers(offer.release)]
    for name, why in asked_endpoints(offer).items():
        questions.append(Question(f"endpoints.{name}", f"address for {why}", _endpoint(why.rpartition(", ")[2])))
    schema = offer.schema
    if schema is None:
        return tuple(questions)
    properties = schema.get("properties")
    hidden = hidden_by(json.dumps(schema, default=str).encode())
    for name in offer.required_config:
        about = properties.get(name) if isinstance(properties, dict) else None
        type_ = about.get("type") if isinstance(about, dict) else None
        # What is secret is not typed where it can be read; an object or a list is written by hand.
        secret = any(leaf.shown == HIDDEN for leaf in leaves({name: "x"}, hidden).values())
        if isinstance(about, dict) and isinstance(type_, str) and type_ in _READ and not secret:
            described = about.get("description")
            what = f"{described}, {type_}" if isinstance(described, str) else type_
            questions.append(Question(f"config.{name}", what, _config(schema, name, type_)))
    return tuple(questions)


def _refused(answer: str, problem: str, form: str) -> UsageError:
    return UsageError(f"{answer!r} {problem}", where="answer", remedy=f"give {form}, or press Enter to leave it out")


def _convert(answer: str, value: object, type_: object, form: str) -> None:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        raise _refused(answer, "does not fit", form) from None


def _registry(answer: str) -> str:
    _convert(answer, {"endpoint": answer}, RegistryDriverFile, "HOST or HOST:PORT")
    return json.dumps(answer)


def _account(answer: str) -> str:
    value = int(answer) if _INTEGER.fullmatch(answer) else answer
    if value in (0, "root"):
        raise _refused(answer, "is root; programs of a release never run as root", "an account without rights")
    _convert(answer, {"user": value}, ProgramDriverFile, "the name or number of an account")
    if isinstance(value, str):  # a number needs no entry in the account database
        try:
            pwd.getpwnam(value)
        except KeyError:
            form = f"an account of this host, create it (`useradd --system {quote(value)}`) and give it again"
            raise _refused(answer, "is no account of this host", form) from None
    return json.dumps(value)


def _endpoint(form: str) -> Callable[[str], str]:
    """Return the check of an address. ``form`` is how it is written, several with `or` between."""
    schemes = tuple(one.partition(":")[0] + ":" for one in form.split(" or "))
    schemes += ("https:",) if "http:" in schemes else ()
    # A probe by TCP may name any address with a port.
    any_form = schemes == ("tcp:",)

    def write(answer: str) -> str:
        _convert(answer, answer, Address, form)
        if not any_form and not answer.startswith(schemes):
            problem = "is no address that is asked by HTTP" if form == "http://HOST:PORT" else "is of another form"
            raise _refused(answer, problem, form)
        return json.dumps(answer)

    return write


_READ: Mapping[str, Callable[[str], Json]] = {
    "boolean": lambda answer: {"true": True, "false": False}[answer],
    "integer": lambda answer: int(_INTEGER.fullmatch(answer)[0]),  # type: ignore[index]  # no match is a TypeError
    "number": lambda answer: Decimal(_NUMBER.fullmatch(answer)[0]),  # type: ignore[index]  # no match is a TypeError
    "string": lambda answer: answer,
}


def _config(schema: Mapping[str, Json], name: str, type_: str) -> Callable[[str], str]:
    def write(answer: str) -> str:
        try:
            value = _READ[type_](answer)
        except (KeyError, TypeError):
            raise _refused(answer, f"is no {type_}", f"a value of type {type_}") from None
        from manifests.foreign.config_check import config_errors  # loads jsonschema

        for error in config_errors(schema, {name: value}, "config schema"):
            if error.absolute_path and error.absolute_path[0] == name:
                raise UsageError(error.message, where="answer", remedy="give a value that the config schema accepts")
        return json.dumps(answer) if type_ == "string" else answer

    return write
