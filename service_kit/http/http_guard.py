"""What keeps other sites' pages away from a port that people open in their browsers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from service_kit.address import Address
from service_kit.http.http_status import http_status, retry_headers
from service_kit.server.incidents import describe_error

# Scripts, styles and pictures come from this port alone and never from inside the page, so that a
# name which became markup by mistake could still do nothing. `blob:` is the picture that a form
# previews.
_POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not `no-referrer`, with which browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-store",
    # Nobody needs to know which release of which library answers.
    hdrs.SERVER: "pbserve",
}
_READING = frozenset([hdrs.METH_GET, hdrs.METH_HEAD])


def host_problem(hosts: Sequence[str]) -> str:
    """Returns why a request to a loopback address is refused for its Host headers; empty: not.

    A page of another site can make its own name resolve to 127.0.0.1 (DNS rebinding) and would
    then be read as if it were ours; its requests still carry that name.
    """
    if len(hosts) == 1 and Address(_host_name(hosts[0]), 0).is_loopback:
        return ""
    named = hosts[0] if hosts else "nothing"
    return (
        f"this port listens on a loopback address, and the request's Host is {named!r}: open it "
        "as localhost or 127.0.0.1, or have it listen elsewhere"
    )


def cross_site_problem(headers: Mapping[str, str]) -> str:
    """Returns why a request that does something is refused for its origin; empty: it is not.

    Browsers say where a form or a script comes from, in `Sec-Fetch-Site` (to loopback and HTTPS)
    and `Origin` (everywhere). Who sends neither is no browser, and nobody's page can make it send.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        origin = headers.get(hdrs.ORIGIN)
        host = headers.get(hdrs.HOST, "").lower()
        allowed = origin is None or (host != "" and _host_and_port(origin) == host)
    return "" if allowed else "the request comes from a page of another site, and is not answered"


def guard(*, bound_to_loopback: Callable[[], bool]) -> Middleware:
    """Returns a middleware that refuses what comes from other sites' pages, and describes errors.

    Args:
        bound_to_loopback: whether nothing but loopback addresses is listened on.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        problem = host_problem(request.headers.getall(hdrs.HOST, []))
        if problem and bound_to_loopback():
            return _text(421, problem)
        problem = cross_site_problem(request.headers)
        if problem and request.method not in _READING:
            return _text(403, problem)
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            return _refuse(refusal)
        except Exception as error:
            described = describe_error(error, request.path)
            response = _text(http_status(described), described.message)
            response.headers.update(retry_headers(described))
            return response

    return answer


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers that every response has; for `on_response_prepare`."""
    response.headers.update(_HEADERS)


def _refuse(refusal: web.HTTPException) -> web.Response:
    """Returns aiohttp's own 404 or 405 as an ordinary response."""
    response = _text(refusal.status, refusal.reason)
    if hdrs.ALLOW in refusal.headers:
        response.headers[hdrs.ALLOW] = refusal.headers[hdrs.ALLOW]
    return response


def _text(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=f"{words}\n")


def _host_name(host: str) -> str:
    """Returns the name or address in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _host_and_port(origin: str) -> str:
    """Returns what a browser that is at `origin` sends as Host."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
