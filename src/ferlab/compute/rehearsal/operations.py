"""Long-running operations, as Dataproc and Vertex tell of them."""

import uuid
from typing import Any

from ferlab.compute.rehearsal.records import Records
from ferlab.compute.rehearsal.web import ApiError, Request, page_of

DATAPROC = "type.googleapis.com/google.cloud.dataproc.v1."
EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


class Operations:
    """Operations by name; ``about`` is the key of what they work on."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def begin(self, parent: str, metadata: dict[str, Any], about: str, request_id: str = "") -> dict[str, Any]:
        """A new operation below ``projects/P/regions/R``."""
        name = f"{parent}/operations/{uuid.uuid4()}"
        operation = {"name": name, "metadata": metadata, "done": False}
        self._records.put("operations", name, {"operation": operation, "about": about, "request": request_id})
        return operation

    def of_request(self, request_id: str, about: str) -> dict[str, Any] | None:
        """The operation that a request of that id has begun before."""
        for record in self._records.all("operations"):
            if request_id and (record["request"], record["about"]) == (request_id, about):
                operation: dict[str, Any] = record["operation"]
                return operation
        return None

    def end(
        self, name: str, response: dict[str, Any] | None = None, error: dict[str, Any] | None = None, **metadata: Any
    ) -> None:
        """Done, with the one or the other; ``metadata`` that is other now than at its beginning."""
        record = self._records.get("operations", name)
        if record is None or record["operation"]["done"]:
            return
        operation = record["operation"] | {"done": True} | ({"error": error} if error else {"response": response})
        operation["metadata"] = operation["metadata"] | metadata
        self._records.put("operations", name, record | {"operation": operation})

    def get(self, request: Request) -> dict[str, Any]:
        """The REST method."""
        name = _name(request)
        record = self._records.get("operations", name)
        if record is None:
            raise ApiError(404, f"Not found: Operation {name}")
        operation: dict[str, Any] = record["operation"]
        return operation

    def list(self, request: Request) -> dict[str, Any]:
        """The REST method."""
        parent = f"projects/{request.at['project']}/{request.at['kind']}/{request.at['place']}/"
        found = [record["operation"] for record in self._records.all("operations")]
        mine = [operation for operation in found if operation["name"].startswith(parent)]
        return page_of(mine, request.query, "operations")


def _name(request: Request) -> str:
    at = request.at
    return f"projects/{at['project']}/{at['kind']}/{at['place']}/operations/{at['operation']}"
