"""HTTP as Google's REST services speak it: routes, refusals in their form, messages read into the clients' types."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ferlab.compute.rehearsal.faults import Trouble

STATUS = {
    400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
}  # fmt: skip
MOMENTARY = {429: "Too many requests. Please try again later.", 503: "The service is currently unavailable."}
EVERYWHERE = frozenset({"$alt", "alt", "prettyPrint", "fields", "key", "quotaUser"})
LARGEST_PAGE = 1000
REQUEST_ID = re.compile(r"[-_a-zA-Z0-9]{1,40}")


class ApiError(Exception):
    """A refusal, as the service words it."""

    def __init__(self, code: int, message: str, status: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status or STATUS[code]

    def body(self) -> dict[str, Any]:
        """The JSON that the service answers."""
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


@dataclass(frozen=True)
class Request:
    """``at``: what the route found in the path; ``query``: the last value of each name; ``body``: JSON or None."""

    at: dict[str, str]
    query: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Route:
    """``pattern`` of a path with ``{name}`` for one part of it; ``query``: the names that it understands."""

    method: str
    pattern: str
    answer: Callable[[Request], dict[str, Any]]
    query: frozenset[str] = field(default=frozenset())

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """What stands in the places of the pattern; None when it is another route's."""
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", self.pattern), path)
        return (
            {name: unquote(part) for name, part in found.groupdict().items()}
            if found and method == self.method
            else None
        )


class LoopbackServer(ThreadingHTTPServer):
    """A server for this machine alone, in threads that end with it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)

    @property
    def address(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are nobody's concern."""


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets ``Trouble`` have its way and answers; ``respond`` is its service's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: str
    trouble: Trouble
    touched: Callable[[], None]

    def respond(self, body: bytes) -> bytes:
        """The whole answer, from status line to last byte."""
        raise NotImplementedError

    def handle_one(self) -> None:
        """Answer one request; ``/`` tells that the server is there, and nothing goes wrong with that."""
        body = self._body()
        if self.path == "/":
            self.wfile.write(self.packed(200, {}))
            return
        type(self).touched()
        time.sleep(self.trouble.faults.latency_ms / 1000)
        refusal = self.trouble.refusal(self.service, self.command not in ("GET", "HEAD"))
        if refusal is None:
            self.wfile.write(self.respond(body))
            return
        status, carried_out = refusal
        if carried_out:
            self.respond(body)
        self.wfile.write(self.packed(status, ApiError(status, MOMENTARY[status]).body()))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815

    def packed(self, status: int, answer: Any) -> bytes:
        """An answer in JSON as bytes to send."""
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        head = b"".join([*self._headers_buffer, b"\r\n"])
        self._headers_buffer: list[bytes] = []
        return head + content

    def log_message(self, *_words: Any) -> None:
        """Nothing is said of single requests."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("content-length", 0)))


class JsonHandler(Handler):
    """A service whose routes take and give JSON."""

    routes: Sequence[Route]

    def respond(self, body: bytes) -> bytes:
        """The answer of the first route that fits."""
        try:
            return self.packed(200, self._answer(body))
        except ApiError as error:
            return self.packed(error.code, error.body())

    def _answer(self, body: bytes) -> dict[str, Any]:
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        for route in self.routes:
            at = route.match(self.command, address.path)
            if at is not None:
                if self.trouble.faults.wrong_project:
                    raise ApiError(403, f"Permission denied on resource project {at['project']}.")
                for name in query.keys() - route.query - EVERYWHERE:
                    message = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                    raise ApiError(400, message)
                return route.answer(Request(at, query, _json(body)))
        raise ApiError(
            404, f"The requested URL {address.path} was not found on this server (a rehearsal has no such method)."
        )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError as error:
        message = f"Invalid JSON payload received. {error}"
        raise ApiError(400, message) from error


def parsed(kind: Any, body: Any) -> dict[str, Any]:
    """A body as the JSON of the message type ``kind`` of a real client; what that type lacks is refused."""
    from google.protobuf.json_format import MessageToDict, ParseError

    try:
        message = kind.from_json(json.dumps(body or {}), ignore_unknown_fields=False)
    except ParseError as error:
        unknown = re.search(r'no field named "([^"]+)" at "([^"]+)"', str(error))
        if unknown:
            words = (
                f"Invalid JSON payload received. Unknown name \"{unknown[1]}\" at '{unknown[2]}': Cannot find field."
            )
        else:
            words = f"Invalid value: {error}"
        raise ApiError(400, words) from error
    result: dict[str, Any] = MessageToDict(kind.pb(message))
    return result


def request_id(query: dict[str, str]) -> str:
    """The id that makes a request safe to repeat; empty without one."""
    wanted = query.get("requestId", "")
    if wanted and not REQUEST_ID.fullmatch(wanted):
        raise ApiError(400, f"Invalid request id '{wanted}': it may hold 40 letters, digits, underscores and hyphens.")
    return wanted


def page_of(items: list[dict[str, Any]], query: dict[str, str], name: str) -> dict[str, Any]:
    """One page of a list under ``name``, with the token of the next."""
    start = int(query.get("pageToken") or 0)
    end = start + min(int(query.get("pageSize") or LARGEST_PAGE), LARGEST_PAGE)
    following = {"nextPageToken": str(end)} if end < len(items) else {}
    return ({name: items[start:end]} if items[start:end] else {}) | following
