"""A registry's client: oras, with time limits, size limits, checked digests and errors that say what to do.

oras knows the paths of the protocol, how blobs are uploaded and how lists of tags are paged. What goes over the wire is sent
here: the OCI distribution specification, version 1.1, and Docker's token authentication.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import oras.provider
from oras.auth.utils import parse_auth_header
from oras.container import Container
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from ecli_py.fetch.credentials import DOCKER_HUB, find_credentials
from ecli_py.fetch.download import Partial, download, read_small
from ecli_py.fetch.errors import DigestError, FetchError, MissingError, UnreachableError
from ecli_py.fetch.http import Session, check_status, explain, is_loopback, within

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from ecli_py.fetch.credentials import Credentials
    from ecli_py.fetch.references import Reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPTED = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MAX_ANSWER_SIZE_BYTES = 4 << 20  # what the specification lets a registry refuse as a manifest
_MAX_TAGS = 10_000
_HUB_HOST = "registry-1.docker.io"

T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """A manifest, or an index of them.

    Attributes:
        content: Its bytes.
        digest: Of these: ``sha256:…``.
        document: What they say: a JSON object.
        media_type: What it is.
    """

    content: bytes
    digest: str
    document: dict[str, Any]
    media_type: str

    def descriptor(self) -> dict[str, Any]:
        """Return what points to it in another document."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


class Registry(oras.provider.Registry):  # type: ignore[misc]  # oras has no types
    """One repository in a registry.

    Args:
        place: The repository.
        insecure: It is asked over plain HTTP, though it is not on this machine.
        patience_s: Seconds that it may be silent.
        credentials: Name and password; ``None``: those that Docker knows.
    """

    def __init__(self, place: Reference, insecure: bool, patience_s: float, credentials: Credentials | None = None) -> None:
        self._host = place.registry
        self._patience_s = patience_s
        server = _HUB_HOST if self._host == DOCKER_HUB else self._host
        plain = insecure or is_loopback(urlsplit(f"//{server}").hostname)
        super().__init__(hostname=server, insecure=plain)
        self.session = Session(patience_s)
        self.session.auth = _as_it_is  # requests would take a name and a password for the host from ~/.netrc instead
        self._base = f"{self.prefix}://{server}"
        self._place = place
        self._container = _container(server, place.repository)
        self._credentials = credentials
        self._authorization = ""

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    # --- what oras calls ---

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,
    ) -> Response:
        """Send a request, once more with a login if the registry wants one; the body is still to be read with ``stream``.

        Raises:
            FetchError: There was no answer. One with an error status is returned.
        """
        name = f"registry {self._host}"
        try:
            response = self._send(url, method, data, headers, json)
            if response.status_code == 401 and self._authorize(response):
                response.close()
                response = self._send(url, method, data, headers, json)
            if not stream:
                # As requests does it, but not without end.
                response._content = (
                    read_small(response, name, _MAX_ANSWER_SIZE_BYTES, self._patience_s) if method != "HEAD" else b""
                )
                response.close()
            return response
        except (RequestException, HTTPError, OSError, ValueError) as error:
            raise explain(name, error) from error

    def _check_200_response(self, response: Response) -> None:
        self.check(response, str(self._place))

    def _get_location(self, r: Response, container: Container) -> str:
        """Return where a blob is to be uploaded to; oras would not look at the status first."""
        self.check(r, str(self._place))
        location: str = super()._get_location(r, container)
        if self.prefix == "https" and not location.startswith("https://"):
            raise FetchError(
                f"{self._place}: the registry wants uploads over plain HTTP", "ask who runs the registry to mend that"
            )
        return location

    # --- what we call ---

    def check(self, response: Response, name: str) -> None:
        """Raise the error that a response is, if it is one; its body has been read.

        Raises:
            FetchError: With the registry's own words.
        """
        status = response.status_code
        if status < 400:
            return
        said = _said(response)
        if status in (401, 403):
            hint = f"ecli-py login {self._host}" if status == 401 else "the login there does not have that right"
            raise FetchError(f"{name}: the registry denies it{said}", hint)
        if status == 404:
            raise MissingError(f"{name}: the registry has no such thing{said}", f"ecli-py tags oci://{self._place.location}")
        if said:
            kind = UnreachableError if status >= 500 or status == 429 else FetchError
            raise kind(f"{name}: the registry answered {status}{said}", "try again later, or ask who runs the registry")
        check_status(response, name)

    def ping(self) -> None:
        """Find out whether the registry is one, and takes the login.

        Raises:
            FetchError: It is none, or does not.
        """
        name = f"registry {self._host}"
        response = self.do_request(f"{self._base}/v2/")
        if response.status_code == 401:
            raise FetchError(
                f"{name} refuses this name and password{_said(response)}", "check them; some registries want a token"
            )
        if response.status_code == 404:
            raise MissingError(f"{name} is none: it does not speak the protocol of registries", "check the host")
        self.check(response, name)

    def manifest(self, reference: str, size: int | None = None) -> Manifest:
        """Return a manifest.

        Args:
            reference: A tag, or a digest, which is checked.
            size: Its size in bytes, if that is known.

        Raises:
            MissingError: There is none.
            DigestError: It is another one.
            FetchError: It cannot be had.
        """
        name = f"oci://{self._place.location}{'@' if ':' in reference else ':'}{reference}"
        url = f"{self.prefix}://{self._container.manifest_url(reference)}"
        response = self.do_request(url, headers={"Accept": ", ".join(_ACCEPTED)})
        self.check(response, name)
        content = response.content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        said = response.headers.get("Docker-Content-Digest", "")
        for expected in (reference if ":" in reference else "", said if said.startswith("sha256:") else ""):
            if expected and expected != digest:
                raise DigestError(
                    f"the manifest of {name}", expected, digest, "the registry is broken, or somebody changes what it says"
                )
        if size is not None and size != len(content):
            raise FetchError(f"the manifest of {name} has {len(content)} bytes, not {size}", "the registry is broken")
        return parse_manifest(name, content, digest, response.headers.get("Content-Type", ""))

    def blob(self, digest: str, size: int, partial: Partial, name: str, max_size_bytes: int) -> bytes:
        """Return a blob, checked.

        Raises:
            DigestError: The registry sent another one.
            FetchError: It cannot be had.
        """
        url = f"{self.prefix}://{self._container.get_blob_url(digest)}"

        def ask(headers: Mapping[str, str]) -> Response:
            return self.in_time(lambda: self.do_request(url, headers=dict(headers), stream=True))

        content = download(name, ask, partial, max_size_bytes, self._patience_s).content
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if actual != digest or len(content) != size:
            raise DigestError(name, digest, actual, "the registry is broken, or somebody changes what it says; nothing was kept")
        return content

    def in_time(self, function: Callable[[], T], seconds: float | None = None) -> T:
        """Return what a function returns, if it does so in time; errors as :func:`~ecli_py.fetch.http.within`."""
        return within(self._patience_s * 2 if seconds is None else seconds, function, f"registry {self._host}")

    def upload(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Upload a blob if it is not there, and return its descriptor.

        Raises:
            FetchError: The registry does not take it.
        """
        layer = {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
        with tempfile.TemporaryDirectory(prefix="ecli-py-") as directory:
            path = Path(directory) / "blob"
            path.write_bytes(content)
            try:
                response = self.upload_blob(str(path), self._container, layer)
            except ValueError as error:  # oras: the registry does not say where to
                raise FetchError(f"{self._place}: the registry takes no upload", "ask who runs the registry") from error
        self.check(response, str(self._place))
        return layer

    def put_manifest(self, document: dict[str, Any], tag: str = "") -> tuple[Manifest, Response]:
        """Upload a manifest or an index, by a tag or else by its digest; return it, and what the registry said.

        Raises:
            FetchError: The registry does not take it.
        """
        content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        manifest = Manifest(content, f"sha256:{hashlib.sha256(content).hexdigest()}", document, document["mediaType"])
        url = f"{self.prefix}://{self._container.manifest_url(tag or manifest.digest)}"
        response = self.do_request(url, "PUT", data=content, headers={"Content-Type": manifest.media_type})
        self.check(response, str(self._place))
        return manifest, response

    def tags(self) -> list[str]:
        """Return the tags of the repository, sorted.

        Raises:
            FetchError: They cannot be had.
        """
        found: set[str] = set()

        def collect(response: Response) -> bool:
            """Take the tags of a page; tell whether to ask for another one."""
            tags = json.loads(response.content).get("tags") or []
            new = {each for each in tags if isinstance(each, str)} - found
            found.update(new)
            return bool(new) and len(found) <= _MAX_TAGS

        try:
            self._do_paginated_request(f"{self.prefix}://{self._container.tags_url()}", callable=collect)
        except (ValueError, TypeError, AttributeError) as error:
            raise FetchError(f"{self._place}: the registry's list of tags cannot be read", "ask who runs the registry") from error
        if len(found) > _MAX_TAGS:
            raise FetchError(f"{self._place} has more than {_MAX_TAGS} tags", "name one: oci://HOST/REPO:TAG")
        return sorted(found)

    def referrers(self, digest: str, artifact_type: str) -> list[dict[str, Any]]:
        """Return descriptors of the artifacts that refer to a manifest; errors as :meth:`manifest`.

        A registry without that part of the protocol has them in an index with a tag made of the digest.
        """
        url = f"{self._base}/v2/{self._container.api_prefix}/referrers/{digest}"
        response = self.do_request(url, headers={"Accept": INDEX})
        if response.status_code == 404:
            try:
                index = self.manifest(fallback_tag(digest))
            except MissingError:
                return []
        else:
            self.check(response, str(self._place))
            index = parse_manifest(str(self._place), response.content, "", INDEX)
        found = index.document.get("manifests")
        every = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        return [each for each in every if each.get("artifactType") == artifact_type]

    # --- the wire ---

    def _send(
        self, url: str, method: str, data: bytes | None, headers: Mapping[str, str] | None, document: dict[str, Any] | None
    ) -> Response:
        words = dict(headers or {})
        # An upload may go to another host, which has no business with the login.
        if self._authorization and url.startswith(f"{self._base}/"):
            words["Authorization"] = self._authorization
        return self.session.request(method, url, data=data, json=document, headers=words, stream=True)

    def _authorize(self, response: Response) -> bool:
        """Find what the registry wants to be told with the next request; tell whether there is anything new to say."""
        credentials = self._credentials = self._credentials or find_credentials(self._host)
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        before = self._authorization
        if scheme == "basic":
            self._authorization = credentials.header() if credentials is not None else ""
        elif scheme == "bearer":
            self._authorization = f"Bearer {self._token(challenge, credentials)}"
        return self._authorization not in ("", before)

    def _token(self, challenge: str, credentials: Credentials | None) -> str:
        """Ask the registry's authentication server for a token: Docker's token specification."""
        words = parse_auth_header(challenge[:4096])
        realm = words.realm or ""
        name = f"registry {self._host}"
        scheme = urlsplit(realm).scheme
        if scheme != "https" and (scheme != "http" or self.prefix == "https"):
            raise FetchError(f"{name} wants the login to be sent to {realm!r}", "that is not safe; ask who runs the registry")
        parameters = {key: value for key, value in (("service", words.service), ("scope", words.scope)) if value}
        headers = {"Authorization": credentials.header()} if credentials is not None else {}
        with self.session.get(realm, params=parameters, headers=headers, stream=True) as response:
            content = read_small(response, name, _MAX_ANSWER_SIZE_BYTES, self._patience_s)
            if response.status_code in (401, 403):
                raise FetchError(f"{name} refuses the login", f"ecli-py login {self._host}")
            check_status(response, name)
        try:
            answer = json.loads(content)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError) as error:
            raise FetchError(f"{name}: the answer to the login cannot be read", "ask who runs the registry") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise FetchError(f"{name}: the answer to the login has no token", "ask who runs the registry")
        return token


def fallback_tag(digest: str) -> str:
    """Return the tag of the index of what refers to a manifest, where the registry keeps no such list itself."""
    return digest.replace(":", "-")


def parse_manifest(name: str, content: bytes, digest: str, content_type: str) -> Manifest:
    """Return the manifest that some bytes are.

    Raises:
        FetchError: They are none.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{name}: what the registry sent is no manifest", "is it a registry? check the reference") from error
    if not isinstance(document, dict):
        raise FetchError(f"{name}: what the registry sent is no manifest", "is it a registry? check the reference")
    media_type = document.get("mediaType")
    return Manifest(
        content, digest, document, media_type if isinstance(media_type, str) else content_type.partition(";")[0].strip()
    )


def _container(server: str, repository: str) -> Container:
    """Return oras's name of a repository. Its own parser would take ``localhost/x`` and ``HOST/a.b/x`` for something else."""
    made = Container("x", registry=server)
    made.registry = server
    made.namespace, _, made.repository = repository.rpartition("/")
    return made


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    return request


def _said(response: Response) -> str:
    """Return what a registry says is wrong, to be put behind a sentence; empty: nothing."""
    try:
        errors = json.loads(response.content).get("errors")
        said = next(str(each.get("message") or each.get("code")) for each in errors)
    except (ValueError, AttributeError, TypeError, StopIteration, RecursionError):
        return ""
    return f": {said[:200]}"
