"""Requests to web servers and registries: what requests does, and what nobody may do to us through it.

A server may be slow, silent, broken, or hostile. Nothing here waits without end, follows a way from https to http, or asks a
server on this machine through a proxy.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectTimeout,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    ProxyError,
    ReadTimeout,
    RequestException,
    SSLError,
    TooManyRedirects,
)
from urllib3.exceptions import HTTPError, LocationParseError, NameResolutionError, ReadTimeoutError

from ecli_py import __version__
from ecli_py.fetch.errors import FetchError, MissingError, UnreachableError
from ecli_py.fetch.references import hide_secrets

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

CONNECT_TIMEOUT_S = 10.0
MAX_REDIRECTS = 10
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class RedirectError(FetchError):
    """A server sent us where we do not go."""


class Session(requests.Session):
    """A session with time limits, that never goes from https to http, and straight to this machine's own servers.

    Args:
        patience_s: Seconds that a server may be silent.
    """

    def __init__(self, patience_s: float) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS
        self.headers["User-Agent"] = f"ecli-py/{__version__}"
        # Compressed on the way it could be a bomb, and its length would say nothing.
        self.headers["Accept-Encoding"] = "identity"
        self.verify = _authorities()
        self._timeouts = (min(CONNECT_TIMEOUT_S, patience_s), patience_s)

    def send(self, request: PreparedRequest, **settings: Any) -> Response:
        """Send a request, with the time limits where there are no others. The body is still to be read."""
        return super().send(request, **{**settings, "timeout": settings.get("timeout") or self._timeouts, "stream": True})

    def merge_environment_settings(self, url: Any, proxies: Any, *others: Any) -> Any:
        """Return the settings for a request, with no proxy to this machine."""
        settings = super().merge_environment_settings(url, proxies, *others)
        return {**settings, "proxies": {}} if is_loopback(urlsplit(str(url)).hostname) else settings

    def rebuild_proxies(self, prepared_request: PreparedRequest, proxies: Any) -> Any:
        """Return the proxies for a redirected request, likewise."""
        found = super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]
        return {} if is_loopback(urlsplit(str(prepared_request.url)).hostname) else found

    def get_redirect_target(self, resp: Response) -> str | None:
        """Return where a response sends us; ``None``: nowhere.

        Raises:
            RedirectError: It is nowhere to go.
        """
        target = super().get_redirect_target(resp)
        if target is not None:
            # requests would read the body of a redirect, though it had no end.
            resp._content = b""
            resp.raw.close()
            scheme = urlsplit(urljoin(resp.url, target)).scheme.lower()
            if scheme not in ("http", "https"):
                raise RedirectError(f"{hide_secrets(resp.url)} redirects to {target!r}", "only http and https are followed")
            if scheme == "http" and urlsplit(resp.url).scheme.lower() == "https":
                raise RedirectError(
                    f"{hide_secrets(resp.url)} redirects from https to http, where anybody on the way can change what comes",
                    "ask who runs the server to mend that",
                )
        return target


def _authorities() -> str | bool:
    """Return the file or directory of the authorities that the system trusts; ``True``: those that requests brings."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    return paths.capath if paths.capath and os.listdir(paths.capath) else True


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def within(seconds: float, function: Callable[[], T], name: str) -> T:
    """Return what a function returns, or raise what it raises, if it does so in time.

    Looking up a host's name has no time limit of its own, and one of a socket begins anew with each byte. The thread of a
    function that is late ends by itself; what it does then has no effect.

    Args:
        seconds: How long it may take.
        function: What to do.
        name: Of the server, for the error.

    Raises:
        UnreachableError: It took longer.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(function())
        except BaseException as error:  # noqa: BLE001  whoever waits raises it again; of one that is late nobody wants to know
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise UnreachableError(f"{name} did not answer within {seconds:.0f} s", "check the network, or try again later")
    return done[0]


def get(
    session: Session,
    url: str,
    name: str,
    headers: Mapping[str, str],
    patience_s: float,
) -> Response:
    """Ask for a URL; the body is still to be read.

    Args:
        session: Used to ask.
        url: What to ask for.
        name: What it is called in errors.
        headers: More headers.
        patience_s: Seconds to the end of the response's headers.

    Raises:
        FetchError: There was no answer. One with an error status is returned.
    """
    try:
        return within(patience_s, lambda: session.get(url, headers=dict(headers), stream=True), name)
    except (RequestException, HTTPError, OSError, ValueError) as error:
        raise explain(name, error) from error


def check_status(response: Response, name: str) -> None:
    """Raise the error that a response is, if it is one.

    Raises:
        MissingError: There is nothing there.
        UnreachableError: The server is in trouble: try again.
        FetchError: Anything else.
    """
    status = response.status_code
    if status < 400:
        return
    said = f"{name}: the server answered {status}" + (f" {response.reason}" if response.reason else "")
    if status in (404, 410):
        raise MissingError(said, "check the reference: there is nothing of that name")
    if status in (401, 403):
        raise FetchError(said, "it wants a login, or that one may not: ~/.netrc has names and passwords for web servers")
    if status == 407:
        raise FetchError(said, "the proxy wants a login: https_proxy=http://USER:PASSWORD@HOST:PORT")
    if status in _TRANSIENT:
        wait = response.headers.get("Retry-After", "")
        wait_s = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else 0.0
        later = f"try again in {wait} s" if wait_s else "try again later"
        raise UnreachableError(said, f"the server is in trouble or busy; {later}", wait_s)
    raise FetchError(said, "check the reference")


def explain(name: str, error: Exception) -> FetchError:
    """Return what an exception of requests or of urllib3 means."""
    hint = "check the network, or try again later"
    host = name
    match error:
        case SSLError():
            return FetchError(
                f"{host}: the server cannot prove that it is who it says: {_innermost(error)}",
                "check the clock; REQUESTS_CA_BUNDLE=FILE has the certificates of an authority of your own",
            )
        case ProxyError():
            return UnreachableError(
                f"{host}: the proxy does not work: {_innermost(error)}", "check http_proxy, https_proxy, no_proxy"
            )
        case TooManyRedirects():
            return RedirectError(f"{host} redirects more than {MAX_REDIRECTS} times", "ask who runs the server to mend that")
        case ConnectTimeout():
            return UnreachableError(f"{host}: nothing answers there", hint)
        case ReadTimeout() | ReadTimeoutError() | TimeoutError():
            return UnreachableError(f"{host}: the server stopped sending", hint)
        case InvalidSchema() | InvalidURL() | MissingSchema() | LocationParseError() | UnicodeError():
            return FetchError(f"{host}: this URL cannot be asked for", "https://HOST/PATH")
        case ChunkedEncodingError() | HTTPError():
            return UnreachableError(f"{host}: the connection was cut", hint)
    if _has_cause(error, NameResolutionError):
        return UnreachableError(f"{host}: there is no such host, or no name server answers", "check the name and the network")
    if _has_cause(error, ReadTimeoutError):
        return UnreachableError(f"{host}: the server stopped sending", hint)
    return UnreachableError(f"{host}: no connection: {_innermost(error)}", hint)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and those behind it, which requests passes as arguments, and urllib3 as ``reason``."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found and len(found) < 10:
        found.append(following)
        inner = [getattr(following, "reason", None), *following.args, following.__cause__, following.__context__]
        following = next((each for each in inner if isinstance(each, BaseException)), None)
    return found


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(each, kind) for each in _chain(error))


def _innermost(error: BaseException) -> str:
    last = _chain(error)[-1]
    return (last.strerror if isinstance(last, OSError) and last.strerror else str(last)).strip() or type(last).__name__
