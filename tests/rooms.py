"""The packages and rooms of the program, in the order in which they may import each other.

The architecture test holds the code against this data; docs/architecture.md is drawn from it.
"""

# package: the packages that it may import.
PACKAGES: dict[str, set[str]] = {
    "manifests": set(),
    "content": {"manifests", "console"},
    "console": {"manifests"},
    "bundler": {"manifests", "content", "console"},
    "verifier": {"manifests", "content", "console"},
    "fleet": {"manifests", "content", "console"},
}

# package: room: (the question that it answers, what it may touch). A room imports only rooms before it.
ROOMS: dict[str, dict[str, tuple[str, str]]] = {
    "manifests": {
        "words": ("What are canonical bytes, digests, versions, units, errors?", "nothing"),
        "trust": ("Which keys may sign what, and did they?", "the key file that it is given"),
        "documents": ("What does each signed document say?", "nothing"),
        "transport": ("How does a report travel as text, symbols or by telephone?", "nothing"),
        "foreign": ("What do SBOMs, VEX documents and config schemas of others say?", "nothing"),
        "authored": ("What did a person write by hand in YAML?", "the file that it is given"),
    },
    "content": {
        "bundle": ("Is this a bundle, and is every byte of it in place?", "the file that it is given"),
        "sigstore": ("Who signed an image, by key or by identity?", "nothing"),
        "telemetry": (
            "What do metrics, logs and traces of others say, counted as a contract allows?",
            "nothing: bytes in, rows out",
        ),
        "trust": ("Do the signatures in a head satisfy the pinned root?", "nothing"),
        "differences": ("What is in a release, and what differs from another?", "the bundle that it is given"),
        "signing": ("How is a signature made: file, token, program, detached?", "keys, and the program that is named"),
        "registry": ("How is a container registry read and written?", "the network"),
        "kubernetes": (
            "What do charts and manifests hold, and which images do they name?",
            "the chart that it is given, and the program that renders it",
        ),
        "commands": ("keygen, sign, lint", "click"),
    },
    "verifier": {
        "trust": (
            "Did the vendor sign this file, and may this site take it?",
            "the file that it is given; nothing else",
        ),
        "rules": ("What do policy, calendar and versions say?", "nothing: values in, values out"),
        "site": ("What is this site, on disk and in its journal?", "the site's folder"),
        "runtime": (
            "How is a payload brought to its runtime, and a program run?",
            "processes, and sockets to addresses of site.yaml",
        ),
        "change": (
            "What would this install or rollback do, and what comes next?",
            "read the site; write nothing",
        ),
        "collecting": (
            "What do the collectors of the contract count at this site?",
            "files, journals and addresses of site.yaml; write telemetry/",
        ),
        "approval": (
            "Who must agree, who has, and what do they need to see?",
            "read the site; record verdicts",
        ),
        "install": ("Do it.", "everything that site and runtime offer"),
        "intake": ("What came in on the medium?", "write what was verified into the site"),
        "reporting": (
            "What goes out, and what does the operator see?",
            "sign with the site key, write outbox/",
        ),
        "handlers": (
            "What does each named command do?",
            "what site, runtime and install offer; no shell",
        ),
        "documents": ("What does any signed document say?", "read"),
        "commands": ("Options in, one call, one result out.", "click"),
    },
    "fleet": {
        "ledger": ("Where is it kept?", "the database"),
        "rules": ("What does a report prove, and what is wrong with it?", "nothing: values in, values out"),
        "intake": ("What came in, and what becomes of it?", "read what support is handed, write the ledger"),
        "outgoing": ("What goes to a site, and what does support see?", "read the ledger, sign, write media"),
        "commands": ("Options in, one call, one result out.", "click"),
    },
}

# Rooms inside a room: a folder with an order of its own.
INNER_ROOMS = (
    "verifier.site.journal",
    "verifier.runtime.drivers",
    "verifier.runtime.kubernetes",
    "verifier.runtime.probes",
    "verifier.runtime.preflight",
)


def room_of(module: str) -> str:
    """The room of a dotted module name: its second part."""
    return module.split(".")[1]
