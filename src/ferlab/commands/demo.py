"""``ferlab demo``: a page on this machine that shows what a model says of a picture, and its JSON endpoint."""

import ipaddress
from typing import Any

from ferlab.commands.answering import predictor_of
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import DemoConfig
from ferlab.inference.server import HERE, Limits, Service, serve

ANY = "*"


def main() -> list[Outcome]:
    """Entry point of ``ferlab demo``."""
    return launch("demo", DemoConfig, run)


def run(config: DemoConfig, context: Context) -> dict[str, Any]:
    """Serve the page until interrupted, which passes; UserError when the model is not there or the port is taken."""
    predictor = predictor_of(config, context)
    limits = Limits(config.max_mb * 1_000_000, config.max_megapixels * 1_000_000, config.waiting)
    hosts = allowed_hosts(config.host, config.hosts)
    if not is_own(config.host):
        context.terminal.warn(f"host={config.host}: everyone who reaches this machine can ask the model.")

    def on_ready(port: int) -> None:
        context.terminal.say(f"http://{in_url(config.host)}:{port}  (Ctrl-C ends it)")

    serve(Service(predictor, limits), config.host, config.port, hosts, on_ready)
    return {}


def allowed_hosts(host: str, more: list[str]) -> list[str]:
    """Names that a browser may ask for the page by: this machine's own ones, the ``host`` bound to, and ``more``.

    Bound to every address of the machine without names, any name will do.
    """
    if is_own(host):
        return [*HERE, *more]
    return [*HERE, in_url(host), *more] if more or host not in ("0.0.0.0", "::") else [ANY]


def in_url(host: str) -> str:
    """A name or an address as it stands in a URL: one of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
