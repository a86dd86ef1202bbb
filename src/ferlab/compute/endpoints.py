"""Which addresses the Google clients talk to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoints:
    """``http://127.0.0.1:PORT`` of each service's stand-in; None is the service of Google itself."""

    dataproc: str | None = None
    vertex: str | None = None
    storage: str | None = None
    quotas: str | None = None
