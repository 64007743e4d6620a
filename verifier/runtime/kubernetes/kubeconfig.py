"""Read a kubeconfig: how a cluster is reached, and how this side shows who it is.

Of the file (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/) the current context counts. No program that
it names is run, and a cluster is not asked whose certificate it says not to verify.
"""

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

from manifests.words.errors import RefusedError, unreadable

MAX_FILE = 64 << 10
FINDING = "kubeconfig"


class Cluster(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    server: str
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None


class User(msgspec.Struct, frozen=True, kw_only=True):
    """How a client shows who it is. Of the ways that are refused, only whether they are there is read."""

    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    client_certificate: str | None = msgspec.field(name="client-certificate", default=None)
    client_certificate_data: str | None = msgspec.field(name="client-certificate-data", default=None)
    client_key: str | None = msgspec.field(name="client-key", default=None)
    client_key_data: str | None = msgspec.field(name="client-key-data", default=None)
    exec_: object = msgspec.field(name="exec", default=None)
    auth_provider: object = msgspec.field(name="auth-provider", default=None)
    username: str | None = None
    impersonated: str | None = msgspec.field(name="as", default=None)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    user: str | None = None


class NamedCluster(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    cluster: Cluster


class NamedUser(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    user: User | None = None


class NamedContext(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    context: Context


class KubeConfig(msgspec.Struct, frozen=True, kw_only=True, rename={"current_context": "current-context"}):
    current_context: str
    clusters: list[NamedCluster]
    contexts: list[NamedContext]
    users: list[NamedUser] | None = None


@dataclass(frozen=True)
class ClusterAccess:
    """How a cluster is reached.

    Attributes:
        server: Its https address.
        authorities: PEM text of the authorities that count; None for those of the system.
        certificate: PEM texts of the client's certificate and key.
        server_name: The name that the server's certificate must have; None for the host of the address.
        proxy: ``http://HOST:PORT`` through which it is reached.
    """

    server: str
    authorities: str | None = None
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    server_name: str | None = None
    proxy: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must stand in no message."""
        key = self.certificate[1].decode("ascii", "replace") if self.certificate is not None else ""
        return tuple(filter(None, (self.token, *(line for line in key.splitlines() if len(line) > 16))))


@dataclass(frozen=True)
class _File:
    """A kubeconfig; paths in it are relative to its folder."""

    path: Path
    remedy: str

    def refuse(self, problem: str) -> RefusedError:
        return RefusedError(problem, where=str(self.path), remedy=self.remedy, finding=FINDING)

    def access(self, config: KubeConfig) -> ClusterAccess:
        contexts = {named.name: named.context for named in config.contexts}
        clusters = {named.name: named.cluster for named in config.clusters}
        users = {named.name: named.user for named in config.users or ()}
        context = contexts.get(config.current_context)
        cluster = clusters.get(context.cluster) if context is not None else None
        if context is None or cluster is None:
            raise self.refuse(f"its current context {config.current_context!r} names no cluster")
        if not cluster.server.startswith("https://"):
            raise self.refuse(f"the server is {cluster.server}, expected an https address")
        if cluster.insecure_skip_tls_verify:
            raise self.refuse("it says not to verify the certificate of the server (insecure-skip-tls-verify)")
        if cluster.proxy_url and not cluster.proxy_url.startswith("http://"):
            raise self.refuse(f"the proxy is {cluster.proxy_url}, expected http://HOST:PORT (proxy-url)")
        user = (users.get(context.user) if context.user else None) or User()
        self._check_user(user)
        authority = self._bytes(cluster.certificate_authority_data, cluster.certificate_authority)
        certificate = self._bytes(user.client_certificate_data, user.client_certificate)
        key = self._bytes(user.client_key_data, user.client_key)
        return ClusterAccess(
            server=cluster.server.rstrip("/"),
            authorities=authority.decode("ascii", "replace") if authority is not None else None,
            certificate=(certificate, key) if certificate is not None and key is not None else None,
            token=self._token(user),
            server_name=cluster.tls_server_name,
            proxy=cluster.proxy_url or None,
        )

    def _check_user(self, user: User) -> None:
        refused = {
            "runs a program for a login (exec)": user.exec_,
            "asks a provider for a login (auth-provider)": user.auth_provider,
            "logs in with a password (username)": user.username,
            "acts as somebody else (as)": user.impersonated,
        }
        for words, value in refused.items():
            if value:
                remedy = f"write a token of a service account, or a client certificate, into {self.path}"
                raise RefusedError(f"it {words}", where=str(self.path), remedy=remedy, finding=FINDING)

    def _token(self, user: User) -> str:
        token = user.token or ""
        if not token and user.token_file:
            token = (self._bytes(None, user.token_file) or b"").decode("utf-8", "replace")
        token = token.strip()
        # An error about a header would show what is in it.
        if not token.isascii() or not token.isprintable():
            raise self.refuse("its token has characters that no token has")
        return token

    def _bytes(self, data: str | None, path: str | None) -> bytes | None:
        """Return what stands in the file as base64, or in another file that it names."""
        if data:
            try:
                return base64.b64decode(data, validate=True)
            except binascii.Error:
                raise self.refuse("a certificate or key in it is not base64") from None
        if not path:
            return None
        place = self.path.parent / path
        try:
            with place.open("rb") as file:
                return file.read(MAX_FILE)
        except OSError as error:
            raise unreadable(error, str(place), remedy=self.remedy, finding=FINDING) from None


def parse_kubeconfig(path: Path, data: bytes, setting: str = "drivers.helm.kubeconfig") -> ClusterAccess:
    """Return how the cluster of the current context is reached.

    Args:
        path, data: The file, and its bytes.
        setting: The key of ``site.yaml`` that names it.

    Raises:
        RefusedError: It is no kubeconfig, or says something that is not done here.
        HostError: A file that it names cannot be read.
    """
    file = _File(path, f"correct {path}, which `{setting}` of site.yaml names")
    try:
        config = msgspec.convert(yaml.safe_load(data), KubeConfig, strict=False)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            words = str(error)
            raise file.refuse(f"it is no kubeconfig: {words[:1].lower()}{words[1:200]}") from None
        raise file.refuse("it is not YAML") from None
    return file.access(config)
