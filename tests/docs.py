"""Write or check what the documents say about the program: help texts in docs/cli.md, the state machine.

`python -m tests.docs --write` (or `make docs`) puts them in place; a test compares.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import wrap

import click
import msgspec

from content.differences.compare_values import show_values
from manifests.authored.site_yaml import SecretFile, SiteFile
from manifests.documents.handler_catalogue import BUILT_IN, COMPONENT_WORDS, RESULTS, ROWS
from manifests.documents.handler_use import PART, value_words
from tests.rooms import PACKAGES, ROOMS
from waybill import COMMANDS, cli

ROOT = Path(__file__).parents[1]
WIDTH = 100
# As `waybill` itself: a command keeps the help option that it was first asked for.
HELP = cli.context_settings["help_option_names"]
MARKED = re.compile(r"(<!-- from the program: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        command.name = name
        if isinstance(command, click.Group):
            with click.Context(command) as context:
                for below in command.list_commands(context):
                    inner = command.get_command(context, below)
                    assert inner is not None
                    yield f"{name} {below}", inner
        else:
            yield name, command


def help_of(command: click.Command, name: str) -> str:
    return command.get_help(
        click.Context(command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=HELP)
    )


def helps() -> str:
    """The help of every command, without the options that every command has."""
    parts = []
    for name, command in commands():
        with click.Context(
            command,
            info_name=f"waybill {name}",
            max_content_width=WIDTH,
            terminal_width=WIDTH,
            help_option_names=HELP,
        ) as context:
            text = command.get_help(context)
        kept = re.sub(r"\n\nOptions of every command:\n(  .*\n?)+", "\n", text).rstrip()
        parts.append(f"### waybill {name}\n\n```\n{kept}\n```\n")
    return "\n".join(parts)


def table() -> str:
    return (
        "```\n"
        + cli.get_help(
            click.Context(
                cli, info_name="waybill", max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=HELP
            )
        )
        + "\n```\n"
    )


def machine() -> str:
    from verifier.site.journal.transitions import TABLE

    rows = ["| in state | the act | meanwhile | when done | when it fails |", "|---|---|---|---|---|"]
    rows += [f"| {one.state} | {one.act} | {one.during} | {one.done} | {one.failed} |" for one in TABLE]
    return "\n".join(rows) + "\n"


def drawing() -> str:
    """The packages as boxes with their rooms: ``a <- b`` says that b may import a and all before it."""
    width = 98
    lines = []
    for package, below in PACKAGES.items():
        imports = ", ".join(name for name in PACKAGES if name in below) or "nothing of ours"
        lines.append(f"+-- {package} imports {imports} ".ljust(width - 1, "-") + "+")
        lines += [f"| {row:<{width - 4}} |" for row in wrap(" <- ".join(ROOMS.get(package, {})), width - 4)]
    lines.append(f"+{'-' * (width - 2)}+")
    return "```\n" + "\n".join(lines) + "\n```\n"


def rooms() -> str:
    """A table for each package: room, the question that it answers, what it may touch."""
    parts = []
    for package, inside in ROOMS.items():
        rows = [f"| `{package}/{room}/` | {question} | {may} |" for room, (question, may) in inside.items()]
        parts.append("\n".join(["| room | the question that it answers | it may touch |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


# An example of each key of site.yaml. Together they are one file, which a test compiles.
SITE_YAML: dict[str, str] = {
    "waybill": "1",
    "site": "northern-grid/inkwell/production/east",
    "channel": "stable",
    "target": "vm",
    "labels": "[tier-1]",
    "drivers.store.folder": "oci",
    "drivers.registry.endpoint": "registry.plant.example:5000",
    "drivers.registry.prefix": "vendor/inkwell",
    "drivers.registry.ca": "tls/registry.pem",
    "drivers.registry.login.secret": "file:secrets/registry.json",
    "drivers.registry.plain_http": "false",
    "drivers.registry.token_hosts": "[login.plant.example]",
    "drivers.registry.content_hosts": "[blobs.plant.example]",
    "drivers.registry.parallel": "4",
    "drivers.helm.kubeconfig.secret": "file:secrets/kubeconfig",
    "drivers.helm.namespace": "inkwell",
    "drivers.helm.program": "/usr/local/bin/helm",
    "drivers.helm.registry": "registry.cluster.local:5000",
    "drivers.helm.timeout": "5m",
    "drivers.files.root": "srv",
    "drivers.files.keeper": "systemd",
    "drivers.files.user": "inkwell",
    "drivers.files.programs": "{python3: /usr/bin/python3}",
    "drivers.files.runtime": "/run/inkwell",
    "drivers.program.user": "inkwell-jobs",
    "endpoints": '{api: "http://127.0.0.1:8080"}',
    "config": "{greeting: hello}",
    "telemetry.withhold": "[store]",
    "report.every": "30d",
    "report.history": "12",
    "keep.generations": "3",
    "keep.backups": "30d",
    "keep.reserve": "64MiB",
    "backups": "backups",
}


def site_keys() -> Iterator[tuple[str, str, str, str]]:
    """Every key of site.yaml that has a value of its own: path, kind of value, default, meaning."""
    yield from _keys(SiteFile, "")


def _keys(struct: type[msgspec.Struct], above: str) -> Iterator[tuple[str, str, str, str]]:
    meanings = _meanings(struct)
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    for key in info.fields:
        path, inner = f"{above}{key.encode_name}", _without_none(key.type)
        if isinstance(inner, msgspec.inspect.StructType):
            yield from _keys(inner.cls, f"{path}.")
            continue
        default = "required" if key.required else _shown(key.default, key.default_factory)
        yield path, _kind(inner), default, meanings[key.encode_name]


def _meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The lines under ``Attributes:`` of a docstring, by field."""
    text = inspect.cleandoc(struct.__doc__ or "").partition("Attributes:\n")[2]
    parts = re.split(r"^    (?=\w+: )", text, flags=re.MULTILINE)
    named = (" ".join(part.split()).partition(": ") for part in parts if part.strip())
    return {name: meaning.replace("``", "`") for name, _, meaning in named} | (
        {"secret": "`file:` and the path of the file that has it, below the site's folder or absolute"}
        if struct is SecretFile
        else {}
    )


def _without_none(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    if isinstance(kind, msgspec.inspect.UnionType):
        kinds = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(kinds) == 1:
            return kinds[0]
    return kind


def _kind(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType():
            return f"number from {kind.ge} to {kind.le}" if kind.le is not None else "number"
        case msgspec.inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
        case msgspec.inspect.VarTupleType():
            return f"list, at most {kind.max_length}" if kind.max_length else "list"
        case msgspec.inspect.DictType():
            return f"mapping, at most {kind.max_length}" if kind.max_length else "mapping"
        case msgspec.inspect.UnionType():
            return " or ".join(dict.fromkeys(_kind(one) for one in kind.types))
        case msgspec.inspect.StrType():
            return "text"
    raise AssertionError(kind)


def _shown(default: object, factory: object) -> str:
    if default is msgspec.NODEFAULT and callable(factory):
        default = factory()
    if default is None or default in ((), {}):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def site_yaml() -> str:
    """A table of every key of site.yaml."""
    rows = ["| key | value | default | meaning | example |", "|---|---|---|---|---|"]
    rows += [
        f"| `{path}` | {kind} | {default} | {meaning} | `{SITE_YAML[path]}` |"
        for path, kind, default, meaning in site_keys()
    ]
    return "\n".join(rows) + "\n"


def handlers() -> str:
    """A section for each handler of the verifier."""
    parts = []
    for name, handler in BUILT_IN.items():
        part = COMPONENT_WORDS.get(name, PART)
        given = "; ".join(f"`{key}`: {value_words(values, None, part)}" for key, values in handler.parameters.items())
        states = "; ".join(f"`{key}`: {show_values(values)}" for key, values in RESULTS[name].items())
        of_each = {key: "name" if row is None else show_values(row) for key, row in ROWS.get(name, {}).items()}
        rows = "; ".join(f"`{key}`: {words}" for key, words in of_each.items())
        states += f"; of each a row: {rows}" if rows else ""
        limits = f", at most {handler.limits.seconds} s" if handler.risk == "read-only" else ""
        parts.append(
            f"### {name}\n\n"
            f"It {handler.does}.\n\n"
            f"- may: {'; '.join(handler.may)}\n"
            f"- risk: {handler.risk}{limits}{'' if handler.repeatable else '; not repeated after a crash'}\n"
            f"- parameters: {given or 'none'}\n"
            f"- result: {states}\n"
        )
    return "\n".join(parts)


PARTS = {
    "handlers": handlers,
    "helps": helps,
    "table": table,
    "machine": machine,
    "drawing": drawing,
    "rooms": rooms,
    "site.yaml": site_yaml,
}
FILES = ("docs/cli.md", "docs/handlers.md", "docs/operations.md", "docs/architecture.md", "docs/site.yaml.md")


def current(text: str) -> str:
    """``text`` with every marked part as the program has it now."""
    return MARKED.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", text)


def main() -> None:
    stale = []
    for name in FILES:
        path = ROOT / name
        old = path.read_text()
        new = current(old)
        if old != new:
            stale.append(name)
            if "--write" in sys.argv:
                path.write_text(new)
    sys.exit(f"not as the program is: {', '.join(stale)}; run make docs" if stale and "--write" not in sys.argv else 0)


if __name__ == "__main__":
    main()
