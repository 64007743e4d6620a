"""Asks a Kubernetes API server for its version: GET /version with what a kubeconfig says of it, and nothing else.

Of the kubeconfig (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/) the current context counts. No
program that it names is run, and a cluster is not asked whose certificate it says not to verify.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from verifier.runtime.preflight.ask import HttpQuestion, Tls, ask
from verifier.runtime.preflight.capacity import is_at_least
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.probes.network import NoAnswerError

T = TypeVar("T")
MAX_FILE = 64 << 10


class Cluster(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    server: str
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None


class User(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """How a client shows who it is; what is not listed here is not used."""

    token: str | None = None
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None


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


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What the server answers (apimachinery, version.Info)."""

    major: str = ""
    minor: str = ""
    gitVersion: str = ""  # noqa: N815  # the server's own spelling


class KubeConfigError(Exception):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True)
class _File:
    """A kubeconfig; paths in it are relative to its folder."""

    path: Path
    config: KubeConfig

    def question(self) -> HttpQuestion:
        contexts = {named.name: named.context for named in self.config.contexts}
        clusters = {named.name: named.cluster for named in self.config.clusters}
        users = {named.name: named.user for named in self.config.users or ()}
        context = contexts.get(self.config.current_context)
        cluster = clusters.get(context.cluster) if context is not None else None
        if context is None or cluster is None:
            raise KubeConfigError(f"its current context {self.config.current_context!r} names no cluster")
        if not cluster.server.startswith("https://"):
            raise KubeConfigError(f"the server is {cluster.server}, expected an https address")
        if cluster.insecure_skip_tls_verify:
            raise KubeConfigError("it says not to verify the certificate of the server (insecure-skip-tls-verify)")
        if cluster.proxy_url:
            raise KubeConfigError("the server is behind a proxy (proxy-url), which is not used here")
        user = (users.get(context.user) if context.user else None) or User()
        authority = self._bytes(cluster.certificate_authority_data, cluster.certificate_authority)
        certificate = self._bytes(user.client_certificate_data, user.client_certificate)
        key = self._bytes(user.client_key_data, user.client_key)
        tls = Tls(
            only=authority.decode("ascii", "replace") if authority is not None else None,
            certificate=(certificate, key) if certificate is not None and key is not None else None,
            server_name=cluster.tls_server_name,
        )
        token = (user.token or "").strip()
        # An error about a header would show what is in it.
        if not token.isascii() or not token.isprintable():
            raise KubeConfigError("its token has characters that no token has")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return HttpQuestion(cluster.server, "/version", tls, {"Accept": "application/json", **headers})

    def _bytes(self, data: str | None, path: str | None) -> bytes | None:
        """Return what stands in the file as base64, or in another file that it names."""
        if data:
            try:
                return base64.b64decode(data, validate=True)
            except binascii.Error:
                raise KubeConfigError("a certificate or key in it is not base64") from None
        if not path:
            return None
        with (self.path.parent / path).open("rb") as file:
            return file.read(MAX_FILE)


def look_at_kubernetes(path: Path, data: bytes, need: str) -> Observation:
    """Ask the cluster of a kubeconfig for its version.

    Args:
        path, data: The file, and its bytes.

    Raises:
        OSError: A file that the kubeconfig names cannot be read.
    """
    remedy = f"correct {path}, which `drivers.helm.kubeconfig` of site.yaml names"
    try:
        question = _File(path, _parsed(data)).question()
    except KubeConfigError as error:
        return unseen(f"{path}: {error}", remedy)
    try:
        reply = ask(question)
    except NoAnswerError as error:
        return unseen(str(error), f"check that the cluster answers, or {remedy}")
    server = question.address
    if reply.status != 200:
        return unseen(f"{server}/version answered {reply.status}", f"check the rights of this user, or {remedy}")
    try:
        stated = msgspec.json.decode(reply.body, type=Version)
    except msgspec.DecodeError:
        return unseen(f"{server}/version answered something else than a version", remedy)
    version = stated.gitVersion or f"{stated.major}.{stated.minor}"
    met = is_at_least(version, need)
    return Observation(met=met, text=f"{server} is {version[:64]}", remedy=f"upgrade the cluster to {need} or newer")


def _parsed(data: bytes) -> KubeConfig:
    try:
        return msgspec.convert(yaml.safe_load(data), KubeConfig, strict=False)
    except yaml.YAMLError:
        raise KubeConfigError("it is not YAML") from None
    except msgspec.ValidationError as error:
        raise KubeConfigError(f"it is no kubeconfig: {str(error)[:1].lower()}{str(error)[1:200]}") from None
