"""A small registry of ours with the referrers API, in this process, in memory.

For machines on which no other one can be installed, and for what no well-behaved registry does on request: tokens
from another host, pages of two entries, a missing ``OCI-Subject``.
"""

import base64
import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from manifests.words.digest import digest_of

INDEX = "application/vnd.oci.image.index.v1+json"
_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<last>[^/]*)")


@dataclass
class ReferrersRegistry:
    """What the server holds and how it behaves; tests look at it and change it while it runs."""

    host: str = ""
    api: bool = True  # has the referrers API
    subject_header: bool = True  # says that it understood `subject`
    page: int = 100
    user: tuple[str, str] | None = None
    bearer: bool = False  # tokens instead of Basic; they come from `realm`
    realm: str = ""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)  # by digest and by tag
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)  # token -> scope
    log: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    connections: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: ReferrersRegistry

    def setup(self) -> None:
        super().setup()
        self.registry.connections += 1

    def log_message(self, *_: object) -> None:
        """Quiet: tests read `log` instead."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204 and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def problem(self, status: int, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
        self.answer(status, body, Content_Type="application/json")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        data = self.body() if self.command in ("POST", "PUT", "PATCH") else b""
        self.registry.log.append(f"{self.command} {url.path}")
        self.registry.authorizations.append(self.headers.get("Authorization", ""))
        if url.path == "/token":
            self.token(query)
            return
        route = _ROUTE.fullmatch(url.path)
        if not route:
            self.problem(404, "NOT_FOUND")
            return
        name, kind, last = route["name"], route["kind"], route["last"]
        if self.allowed(name):
            getattr(self, kind.replace("/", "_"))(name, last, query, data)

    def do_GET(self) -> None:
        self.handle_request()

    def do_HEAD(self) -> None:
        self.handle_request()

    def do_POST(self) -> None:
        self.handle_request()

    def do_PUT(self) -> None:
        self.handle_request()

    def do_PATCH(self) -> None:
        self.handle_request()

    def allowed(self, name: str) -> bool:
        registry = self.registry
        if not registry.user:
            return True
        kind, _, secret = self.headers.get("Authorization", "").partition(" ")
        action = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        scope = f"repository:{name}:{action}"
        if registry.bearer:
            if kind == "Bearer" and registry.tokens.get(secret) == scope:
                return True
            realm = registry.realm or f"http://{registry.host}/token"
            challenge = f'Bearer realm="{realm}",service="test",scope="{scope}"'
        else:
            if kind == "Basic" and base64.b64decode(secret).decode() == ":".join(registry.user):
                return True
            challenge = 'Basic realm="test"'
        self.answer(401, b"{}", WWW_Authenticate=challenge)
        return False

    def token(self, query: dict[str, str]) -> None:
        kind, _, secret = self.headers.get("Authorization", "").partition(" ")
        expected = ":".join(self.registry.user or ("", ""))
        if kind != "Basic" or base64.b64decode(secret).decode() != expected:
            self.problem(401, "UNAUTHORIZED")
            return
        token = uuid.uuid4().hex
        self.registry.tokens[token] = query["scope"]
        self.answer(200, json.dumps({"token": token}).encode(), Content_Type="application/json")

    def blobs(self, name: str, digest: str, _query: dict[str, str], _data: bytes) -> None:
        found = self.registry.blobs.get((name, digest))
        if found is None:
            self.problem(404, "BLOB_UNKNOWN")
            return
        start = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        if start:
            rest = found[int(start[1]) :]
            self.answer(206, rest, Content_Range=f"bytes {start[1]}-{len(found) - 1}/{len(found)}")
        else:
            self.answer(200, found)

    def blobs_uploads(self, name: str, last: str, query: dict[str, str], data: bytes) -> None:
        uploads = self.registry.uploads
        if self.command == "POST":
            source = (query.get("from", ""), query.get("mount", ""))
            if source in self.registry.blobs:
                self.registry.blobs[name, source[1]] = self.registry.blobs[source]
                self.answer(201)
                return
            last = uuid.uuid4().hex
            uploads[last] = bytearray()
            self.answer(202, Location=f"/v2/{name}/blobs/uploads/{last}?state=1")
            return
        if last not in uploads:
            self.problem(404, "BLOB_UPLOAD_UNKNOWN")
            return
        upload = uploads[last]
        start = self.headers.get("Content-Range", f"{len(upload)}-").partition("-")[0]
        if self.command == "PATCH" and int(start) != len(upload):
            self.problem(416, "RANGE_INVALID")
            return
        upload += data
        location = f"/v2/{name}/blobs/uploads/{last}?state=1"
        if self.command == "PATCH":
            self.answer(202, Location=location, Range=f"0-{max(0, len(upload) - 1)}")
        elif self.command == "GET":
            self.answer(204, Location=location, Range=f"0-{max(0, len(upload) - 1)}")
        elif digest_of(bytes(upload)) != query.get("digest"):
            self.problem(400, "DIGEST_INVALID")
        else:
            self.registry.blobs[name, query["digest"]] = bytes(uploads.pop(last))
            self.answer(201, Location=f"/v2/{name}/blobs/{query['digest']}")

    def manifests(self, name: str, reference: str, _query: dict[str, str], data: bytes) -> None:
        stored = self.registry.manifests
        if self.command != "PUT":
            found = stored.get((name, reference))
            if found is None:
                self.problem(404, "MANIFEST_UNKNOWN")
            else:
                self.answer(200, found[0], Content_Type=found[1])
            return
        entry = (data, self.headers["Content-Type"])
        stored[name, reference] = stored[name, digest_of(data)] = entry
        subject = json.loads(data).get("subject")
        headers = {}
        if subject and self.registry.api and self.registry.subject_header:
            headers["OCI_Subject"] = subject["digest"]
        self.answer(201, **headers)

    def tags(self, name: str, _last: str, query: dict[str, str], _data: bytes) -> None:
        tags = sorted(tag for owner, tag in self.registry.manifests if owner == name and ":" not in tag)
        if not tags:
            self.problem(404, "NAME_UNKNOWN")
            return
        self.paged("tags", {"name": name}, tags, query)

    def referrers(self, name: str, digest: str, query: dict[str, str], _data: bytes) -> None:
        if not self.registry.api:
            self.answer(404, b"404 page not found\n", Content_Type="text/plain")
            return
        found = []
        for (owner, key), (data, media_type) in sorted(self.registry.manifests.items()):
            document = json.loads(data)
            if owner != name or ":" not in key or (document.get("subject") or {}).get("digest") != digest:
                continue
            artifact_type = document.get("artifactType") or document["config"]["mediaType"]
            entry = {"mediaType": media_type, "digest": key, "size": len(data), "artifactType": artifact_type}
            if annotations := document.get("annotations"):
                entry["annotations"] = annotations
            found.append(entry)
        self.paged("manifests", {"schemaVersion": 2, "mediaType": INDEX}, found, query)

    def paged(self, key: str, document: dict[str, object], values: Sequence[object], query: dict[str, str]) -> None:
        start, size = int(query.get("start", "0")), self.registry.page
        headers = {"Content_Type": INDEX if key == "manifests" else "application/json"}
        if len(values) > start + size:
            headers["Link"] = f'<{urlsplit(self.path).path}?start={start + size}>; rel="next"'
        self.answer(200, json.dumps({**document, key: values[start : start + size]}).encode(), **headers)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what many tests are about; anything else is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as given


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port of this machine; yields ``host:port``."""
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def referrers_server(registry: ReferrersRegistry | None = None) -> Iterator[ReferrersRegistry]:
    """Our registry, running."""
    found = registry or ReferrersRegistry()
    with serving(type("Bound", (Handler,), {"registry": found})) as host:
        found.host = host
        yield found
