"""Who is told the password: files of login tools, challenges, realms."""

import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from content.bundle.oci import OCI_MANIFEST
from content.registry.addresses import tls_context
from content.registry.auth import Credentials, auth_files, find_credentials, read_credentials
from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, WaybillError
from tests.real import docker_registry
from tests.referrers_server import Handler, ReferrersRegistry, referrers_server, serving

HOST = "registry.example.com:5000"
NAME = "team/app"
ANN = Credentials("ann", "pa:ss")
INLINE = base64.b64encode(b"ann:pa:ss").decode()
BLOB = b"content"


def written(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def entry(value: Mapping[str, object], host: str = HOST, **more: object) -> bytes:
    return json.dumps({"auths": {host: value}, **more}).encode()


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"https://{HOST}/", f"https://{HOST}/v1/", f"https://{HOST}/v2/"]
)
def test_an_entry_is_found_under_every_name_that_tools_write(key: str) -> None:
    assert read_credentials(entry({"auth": INLINE}, key), HOST) == ANN


def test_docker_hub_goes_by_its_old_name() -> None:
    data = entry({"auth": INLINE}, "https://index.docker.io/v1/")
    assert read_credentials(data, "docker.io") == ANN
    assert read_credentials(data, "registry-1.docker.io") == ANN
    assert read_credentials(data, HOST) is None


def test_other_hosts_credentials_are_not_ours() -> None:
    for host in (
        "registry.example.com",
        "example.com:5000",
        "registry.example.com:50000",
        HOST.upper(),
        f"{HOST}/team",
    ):
        assert read_credentials(entry({"auth": INLINE}, host), HOST) is None
    assert read_credentials(b"{}", HOST) is None


def test_separate_fields() -> None:
    assert read_credentials(entry({"username": "ann", "password": "pa:ss"}), HOST) == ANN


def test_a_password_never_shows() -> None:
    assert "pa:ss" not in repr(ANN)


@pytest.mark.parametrize(
    "data",
    [
        entry({}, credsStore="desktop"),
        entry({}, credHelpers={HOST: "ecr-login"}),
        entry({}, "other.example.com", credHelpers={HOST: "ecr-login"}),
    ],
)
def test_a_helper_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(RefusedError, match="kept by a helper program, which is not started") as caught:
        read_credentials(data, HOST, where="config.json")
    assert (caught.value.where, caught.value.finding) == ("config.json", "credential-helper")
    assert caught.value.remedy


def test_a_helper_for_others_is_no_obstacle() -> None:
    assert read_credentials(entry({"auth": INLINE}, credsStore="desktop"), HOST) == ANN
    assert read_credentials(entry({}, "other.example.com", credsStore="desktop"), HOST) is None
    assert read_credentials(entry({}, credHelpers={"other.example.com": "x"}), HOST) is None


def test_an_identity_token_is_told_apart_from_a_password() -> None:
    assert read_credentials(entry({"identitytoken": "x"}), HOST) == Credentials("<token>", "x", identity_token=True)


def test_the_longest_namespace_counts() -> None:
    def auth(name: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{name}:x".encode()).decode()}

    names = {HOST: auth("all"), f"{HOST}/team": auth("team"), f"{HOST}/team/app": auth("app"), f"{HOST}/te": auth("no")}
    data = json.dumps({"auths": names}).encode()
    for repository, user in (("team/app", "app"), ("team/other", "team"), ("team/app/x", "app"), ("tea", "all")):
        credentials = read_credentials(data, HOST, repository)
        assert credentials is not None
        assert credentials.username == user


HELPER = """#!/bin/sh
read server
case "$1 $server" in
  "get %s") echo '{"ServerURL": "x", "Username": "ann", "Secret": "pa:ss"}' ;;
  "get token.example.com") echo '{"Username": "<token>", "Secret": "refresh"}' ;;
  "get odd.example.com") echo '[]' ;;
  "get none.example.com") echo 'credentials not found in native keychain'; exit 1 ;;
  *) exit 3 ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER % HOST)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return "test"


def test_a_helper_program_is_asked_without_a_shell(helper: str) -> None:
    everything = json.dumps({"credsStore": helper}).encode()
    assert read_credentials(everything, HOST, helpers=True) == ANN
    token = read_credentials(everything, "token.example.com", helpers=True)
    assert token == Credentials("<token>", "refresh", identity_token=True)
    assert read_credentials(everything, "none.example.com", helpers=True) is None
    one = json.dumps({"credHelpers": {HOST: helper}}).encode()
    assert read_credentials(one, HOST, helpers=True) == ANN
    assert read_credentials(one, "other.example.com", helpers=True) is None


@pytest.mark.parametrize(
    ("name", "host", "message"),
    [
        ("test", "odd.example.com", "answered something else"),
        ("test", "other.example.com", "failed with exit code 3"),
        ("not-there", HOST, "is not installed"),
    ],
)
def test_a_helper_that_fails_is_named(helper: str, name: str, host: str, message: str) -> None:
    with pytest.raises(HostError, match=f"docker-credential-{name} {message}") as caught:
        read_credentials(json.dumps({"credsStore": name}).encode(), host, helpers=True)
    assert caught.value.finding == "credential-helper"


@pytest.mark.parametrize("name", ["../x", "a b", "", "-x"])
def test_a_helper_is_a_name_and_no_path(helper: str, name: str) -> None:
    data = json.dumps({"credHelpers": {HOST: name}}).encode()
    if not name:
        assert read_credentials(data, HOST, helpers=True) is None
        return
    with pytest.raises(MalformedError, match="expected the name of a credential helper"):
        read_credentials(data, HOST, helpers=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"auths":[]}',
        entry({"auth": "***"}),
        entry({"auth": 5}),
        entry({"auth": base64.b64encode(b"nocolon").decode()}),
        entry({"auth": base64.b64encode(b":x").decode()}),
        entry({"auth": base64.b64encode(b"\xff:x").decode()}),
        json.dumps({"auths": {HOST: "x"}}).encode(),
        b" " * (1 << 20) + b"{}",
    ],
)
def test_a_file_of_another_shape(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_credentials(data, HOST)


def test_the_order_of_the_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert list(auth_files({}, home)) == [home / ".config/containers/auth.json", home / ".docker/config.json"]
    everything = {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d"}
    assert list(auth_files(everything, home)) == [
        Path("/run/user/7/containers/auth.json"),
        Path("/c/containers/auth.json"),
        Path("/d/config.json"),
    ]
    assert list(auth_files({**everything, "REGISTRY_AUTH_FILE": "/f"}, home)) == [Path("/f")]


def test_the_first_file_with_an_entry_counts(tmp_path: Path) -> None:
    runtime = {"auths": {"other.example.com": {"auth": INLINE}}}
    written(tmp_path / "run/containers/auth.json", runtime)
    written(tmp_path / "docker/config.json", {"auths": {HOST: {"auth": INLINE}}})
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_CONFIG": str(tmp_path / "docker")}
    assert find_credentials(HOST, NAME, helpers=False, auth_file=None, environ=environ, home=tmp_path) == ANN
    assert (
        find_credentials("none.example.com", NAME, helpers=False, auth_file=None, environ=environ, home=tmp_path)
        is None
    )


def test_a_named_file_is_the_only_one(tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", {"auths": {HOST: {"auth": INLINE}}})
    empty = written(tmp_path / "empty.json", {})
    assert find_credentials(HOST, NAME, helpers=False, auth_file=empty, environ={}, home=tmp_path) is None
    named = {"REGISTRY_AUTH_FILE": str(empty)}
    assert find_credentials(HOST, NAME, helpers=False, auth_file=None, environ=named, home=tmp_path) is None
    with pytest.raises(HostError, match="no such file"):
        find_credentials(HOST, NAME, helpers=False, auth_file=tmp_path / "none", environ={}, home=tmp_path)
    with pytest.raises(HostError, match="cannot read credentials"):
        find_credentials(HOST, NAME, helpers=False, auth_file=tmp_path, environ={}, home=tmp_path)


# -- Basic -------------------------------------------------------------------------------------------


def test_basic_from_a_login_file(tmp_path: Path) -> None:
    with docker_registry(tmp_path, tls=True, htpasswd={"ann": "pa:ss"}) as running:
        file = written(tmp_path / "docker/config.json", {"auths": {running.host: {"auth": INLINE}}})
        for options in ({"auth_file": file, "environ": {}}, {"environ": {"DOCKER_CONFIG": str(file.parent)}}):
            with Registry(running.host, RegistryOptions(ca=running.ca, **options)) as registry:
                registry.push_blob(NAME, digest_of(BLOB), len(BLOB), lambda: iter([BLOB]))
                assert registry.blob_exists(NAME, digest_of(BLOB))


def test_wrong_and_missing_credentials(tmp_path: Path) -> None:
    with docker_registry(tmp_path, htpasswd={"ann": "secret"}) as running:
        with Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry:
            with pytest.raises(HostError, match=r"does not accept anonymous access for team/app \(401\)") as caught:
                registry.manifest(NAME, "1.0")
            assert caught.value.finding == "registry-denied"
            assert caught.value.remedy
        with Registry(
            running.host, RegistryOptions(plain_http=True, credentials=("ann", "wrong"), environ={})
        ) as registry:
            for _ in range(2):
                with pytest.raises(
                    HostError, match=r"does not accept the credentials of 'ann' for team/app \(401\)"
                ) as caught:
                    registry.push_blob(NAME, digest_of(BLOB), len(BLOB), lambda: iter([BLOB]))
                assert "wrong" not in str(caught.value)


def test_a_helper_is_refused_only_when_it_is_needed(tmp_path: Path) -> None:
    with docker_registry(tmp_path) as open_, docker_registry(tmp_path, htpasswd={"ann": "x"}) as closed:
        for running in (open_, closed):
            file = written(tmp_path / "config.json", {"auths": {running.host: {}}, "credsStore": "desktop"})
            with Registry(running.host, RegistryOptions(plain_http=True, auth_file=file, environ={})) as registry:
                if running is open_:
                    assert not registry.blob_exists(NAME, digest_of(BLOB))
                else:
                    with pytest.raises(RefusedError, match="helper program"):
                        registry.blob_exists(NAME, digest_of(BLOB))


def test_basic_is_not_sent_before_it_is_asked_for() -> None:
    with referrers_server() as server:
        with Registry(
            server.host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})
        ) as registry:
            registry.blob_exists(NAME, digest_of(BLOB))
        assert server.authorizations == [""]


# -- Bearer ------------------------------------------------------------------------------------------


def test_a_token_for_each_repository_and_right() -> None:
    with (
        referrers_server(ReferrersRegistry(user=("ann", "secret"), bearer=True)) as server,
        Registry(server.host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})) as registry,
    ):
        for repository in ("team/one", "team/two", "team/one"):
            registry.push_blob(repository, digest_of(BLOB), len(BLOB), lambda: iter([BLOB]))
            assert b"".join(registry.blob(repository, digest_of(BLOB), len(BLOB))) == BLOB
        assert sorted(server.tokens.values()) == [
            "repository:team/one:pull",
            "repository:team/one:pull,push",
            "repository:team/two:pull",
            "repository:team/two:pull,push",
        ]


def test_an_expired_token_is_fetched_again() -> None:
    with (
        referrers_server(ReferrersRegistry(user=("ann", "secret"), bearer=True)) as server,
        Registry(server.host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})) as registry,
    ):
        server.blobs[NAME, digest_of(BLOB)] = BLOB
        for _ in range(3):
            assert registry.blob_exists(NAME, digest_of(BLOB))
            server.tokens.clear()


def test_wrong_credentials_at_the_token_service() -> None:
    with (
        referrers_server(ReferrersRegistry(user=("ann", "secret"), bearer=True)) as server,
        Registry(server.host, RegistryOptions(plain_http=True, credentials=("ann", "wrong"), environ={})) as registry,
        pytest.raises(HostError, match=f"the token service of {server.host} answered 401: UNAUTHORIZED") as caught,
    ):
        registry.blob_exists(NAME, digest_of(BLOB))
    assert caught.value.finding == "registry-denied"


def test_a_dead_token_service_is_named() -> None:
    away = ReferrersRegistry(user=("ann", "secret"), bearer=True, realm="http://127.0.0.1:1/token")
    with (
        referrers_server(away) as server,
        Registry(server.host, RegistryOptions(plain_http=True, environ={})) as registry,
        pytest.raises(HostError, match=f"the token service of {server.host} does not accept connections") as caught,
    ):
        registry.blob_exists(NAME, digest_of(BLOB))
    assert caught.value.where == "127.0.0.1:1"


def test_a_plain_realm_on_another_host_gets_no_password_unless_it_is_named() -> None:
    with referrers_server(ReferrersRegistry(user=("ann", "secret"), bearer=True)) as issuer:
        away = ReferrersRegistry(user=("ann", "secret"), bearer=True, realm=f"http://{issuer.host}/token")
        away.tokens = issuer.tokens
        with referrers_server(away) as server:
            server.blobs[NAME, digest_of(BLOB)] = BLOB
            with (
                Registry(
                    server.host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})
                ) as registry,
                pytest.raises(RefusedError, match="tokens to be fetched from http://127") as caught,
            ):
                registry.blob_exists(NAME, digest_of(BLOB))
            assert caught.value.finding == "foreign-realm"
            assert issuer.log == []
            with Registry(
                server.host,
                RegistryOptions(
                    plain_http=True, credentials=("ann", "secret"), plain_hosts=frozenset({issuer.host}), environ={}
                ),
            ) as registry:
                assert registry.blob_exists(NAME, digest_of(BLOB))
            assert issuer.log == ["GET /token"]


@pytest.mark.parametrize(
    "realm",
    [
        "test",
        "",
        "//127.0.0.1/token",
        "http://127.0.0.1:1/token",
        "http://{host}@evil.example/token",
        "http://ann:secret@{host}/token",
        "https://{host}/token",
        "file:///etc/passwd",
        "http://evil.example/{host}",
        "http://{host}.evil.example/token",
    ],
)
@pytest.mark.parametrize("user", [None, ("ann", "secret")])
def test_realms_that_are_not_this_registry(realm: str, user: tuple[str, str] | None) -> None:
    server = ReferrersRegistry(user=("ann", "secret"), bearer=True)
    with (
        referrers_server(server),
        Registry(server.host, RegistryOptions(plain_http=True, credentials=user, environ={})) as registry,
    ):
        server.realm = realm.format(host=server.host) or "none"
        started = time.monotonic()
        with pytest.raises(WaybillError):
            registry.blob_exists(NAME, digest_of(BLOB))
        assert time.monotonic() - started < 1
        assert server.log == [f"HEAD /v2/{NAME}/blobs/{digest_of(BLOB)}"]


class Odd(Handler):
    challenge: str
    reply: tuple[int, bytes, tuple[tuple[str, str], ...]]

    def handle_request(self) -> None:
        self.registry.log.append(self.path)
        if self.path.startswith("/token"):
            status, body, headers = type(self).reply
            self.answer(status, body, **dict(headers))
        elif self.headers.get("Authorization"):
            self.answer(200, b"{}", Content_Type=OCI_MANIFEST)
        else:
            self.answer(401, b"{}", WWW_Authenticate=type(self).challenge)


def odd(challenge: str, reply: tuple[int, bytes, tuple[tuple[str, str], ...]] = (200, b"{}", ())) -> type[Odd]:
    return type("Bound", (Odd,), {"registry": ReferrersRegistry(), "challenge": challenge, "reply": reply})


@pytest.mark.parametrize(
    "reply",
    [
        (200, b"no json", ()),
        (200, b"[]", ()),
        (200, b"{}", ()),
        (200, b'{"token":5}', ()),
        (200, b'{"token":""}', ()),
        (200, b'{"token":"a\\r\\nX-Injected: 1"}', ()),
        (200, b'{"token":"\xc3\xa9"}', ()),
        (200, b'{"token":"' + b"x" * 100_000 + b'"}', ()),
        (200, b"[" * 10_000, ()),
        (302, b"", (("Location", "http://127.0.0.1:1/"),)),
        (500, b"", ()),
    ],
)
@pytest.mark.parametrize("user", [None, ("ann", "secret")])
def test_a_token_service_that_answers_nonsense(
    reply: tuple[int, bytes, tuple[tuple[str, str], ...]], user: tuple[str, str] | None
) -> None:
    handler = odd('Bearer realm="http://HOST/token",service="x"', reply)
    with (
        serving(handler) as host,
        Registry(host, RegistryOptions(plain_http=True, credentials=user, environ={})) as registry,
    ):
        handler.challenge = handler.challenge.replace("HOST", host)
        with pytest.raises(WaybillError) as caught:
            registry.blob_exists(NAME, digest_of(BLOB))
        assert isinstance(caught.value, HostError | MalformedError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_both_names_of_a_token(name: str) -> None:
    handler = odd('Bearer realm="http://HOST/token"', (200, json.dumps({name: "abc"}).encode(), ()))
    with serving(handler) as host, Registry(host, RegistryOptions(plain_http=True, environ={})) as registry:
        handler.challenge = handler.challenge.replace("HOST", host)
        assert registry.blob_exists(NAME, digest_of(BLOB))


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="x", Negotiate',
        'basic realm="a, Bearer b"',
        'Digest realm="x", Basic realm="y"',
        "BASIC realm=x",
    ],
)
def test_the_scheme_decides_in_any_spelling(challenge: str) -> None:
    with (
        serving(odd(challenge)) as host,
        Registry(host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})) as registry,
    ):
        assert registry.blob_exists(NAME, digest_of(BLOB))


@pytest.mark.parametrize(
    "challenge", ["", "Digest realm=x", "Negotiate", "x" * 9000, 'Bearer realm="', "Bearer ", "Bearer"]
)
def test_a_challenge_that_nobody_understands(challenge: str) -> None:
    with (
        serving(odd(challenge)) as host,
        Registry(host, RegistryOptions(plain_http=True, credentials=("ann", "secret"), environ={})) as registry,
        pytest.raises(WaybillError),
    ):
        registry.blob_exists(NAME, digest_of(BLOB))


def test_named_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostError, match="a pipe, not a file"):
        find_credentials(HOST, NAME, auth_file=tmp_path / "pipe", environ={}, home=tmp_path, helpers=False)
    with pytest.raises(HostError, match="a pipe, not a file"):
        tls_context(tmp_path / "pipe")
