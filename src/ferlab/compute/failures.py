"""What Google's services answer when they refuse, in one line each that says what to do."""

import re
from typing import Any

from ferlab.compute.target import Target
from ferlab.errors import UserError, first_line
from ferlab.storage.objects import LOGIN

CAPACITY = re.compile(
    r"RESOURCE_POOL_EXHAUSTED|does not have enough resources|[Rr]esources are insufficient|[Ss]tockout|STOCKOUT|"
    r"[Cc]apacity (?:is )?(?:not available|insufficient)",
)
QUOTA = re.compile(r"exceeds? quota limit|[Ii]nsufficient '?\w+'? quota|Quota '[^']+' exceeded")
"""A lack that stays; the 429 for too many requests mentions quotas as well (``e.g. check quota``)."""
PREEMPTED = re.compile(
    r"preempt|replica .*(?:lost|restarted|terminated)|SIGTERM|internal error|non-zero status of (?:130|143)\b",
    re.IGNORECASE,
)
"""Also a training that was told to end and did so, 130, or was ended by the signal, 143: people cancel otherwise."""
ADDRESS = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) \S+: ")
SWITCHED_OFF = re.compile(r"has not been used in project|it is disabled|SERVICE_DISABLED")


class NoCapacityError(UserError):
    """A region has no such machines at the moment; another may have them."""


class UnreachableError(UserError):
    """A service does not answer; what is under way there goes on."""


def lacks_capacity(message: str) -> bool:
    """Whether a service says that a region has no such machines now."""
    return bool(CAPACITY.search(message)) and not QUOTA.search(message)


def was_preempted(message: str) -> bool:
    """Whether a job ended since its machine was taken away."""
    return bool(PREEMPTED.search(message))


def told(error: Exception, target: Target, region: str, what: str) -> Exception:
    """The error of a client in our words, or itself when it is none of a service. ``what`` was to be done."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    cause = error.cause if isinstance(error, api.RetryError) and error.cause else error
    said = str(cause.message) if isinstance(cause, api.GoogleAPICallError) else str(cause)
    message = ADDRESS.sub("", " ".join(said.split()) or type(cause).__name__)[:300]
    where = f"{what} (project {target.project}, {region})"
    if lacks_capacity(message):
        return NoCapacityError(f"{where}: {message}")
    if isinstance(cause, api.GoogleAPICallError) and QUOTA.search(message):
        return UserError(f"{where}: the quota does not suffice ({message}). Ask for more, or for fewer machines.")
    if _is_network(cause):
        return UnreachableError(f"{where}: the service cannot be reached ({message}). Check the network.")
    if isinstance(cause, api.Unauthenticated | auth.GoogleAuthError):
        return UserError(f"{where}: no valid credentials for Google Cloud. {LOGIN}")
    if isinstance(cause, api.Forbidden) and SWITCHED_OFF.search(message):
        return UserError(
            f"{where}: a service is not switched on in this project ({message}). docs/cloud.md lists them."
        )
    if isinstance(cause, api.Forbidden):
        return UserError(f"{where}: this account may not ({message}). Check the project's name and your roles.")
    if isinstance(cause, api.NotFound):
        return UserError(f"{where}: not found ({message}). Check the project's name and the region.")
    if isinstance(cause, _momentary()):
        return UnreachableError(f"{where}: the service does not answer ({message}). Try again later.")
    if isinstance(cause, api.GoogleAPICallError):
        return UserError(f"{where}: refused ({message}).")
    return error


def passes(error: Exception) -> bool:
    """Whether the same request may succeed a moment later: service away, too many requests, network."""
    from google.api_core import exceptions as api

    if isinstance(error, api.TooManyRequests):
        return not QUOTA.search(first_line(error, 500))
    return isinstance(error, _momentary()) or _is_network(error)


def _momentary() -> tuple[type[Exception], ...]:
    """What a service answers that is busy or away for some time."""
    from google.api_core import exceptions as api

    return api.TooManyRequests, api.ServiceUnavailable, api.InternalServerError, api.BadGateway, api.GatewayTimeout


def _is_network(error: Any) -> bool:
    import requests
    from google.auth import exceptions as auth

    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError | auth.TransportError)
