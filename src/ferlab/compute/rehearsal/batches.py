"""Dataproc's serverless batches: PySpark without a cluster.

Such a batch brings its packages in a container image, which a rehearsal cannot run: the stand-in's own Python plays it.
"""

import re
import sys
import uuid
from typing import Any

from ferlab.compute.rehearsal.clusters import check_labels
from ferlab.compute.rehearsal.drivers import Drivers
from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.filters import filtered
from ferlab.compute.rehearsal.jobs import check_pyspark
from ferlab.compute.rehearsal.operations import DATAPROC, Operations
from ferlab.compute.rehearsal.records import Record, Records, moment_of, seconds_of, stamp
from ferlab.compute.rehearsal.spark import spark_properties
from ferlab.compute.rehearsal.storage import Buckets
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of, parsed, request_id

PATH = "/v1/projects/{project}/locations/{region}/batches"
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
NAME = re.compile(r"[a-z0-9][-a-z0-9]{2,61}[a-z0-9]")


class Batches:
    """The REST methods of BatchController, and what happens by itself."""

    def __init__(self, records: Records, buckets: Buckets, drivers: Drivers, trouble: Trouble) -> None:
        self._records, self._buckets, self._drivers, self._trouble = records, buckets, drivers, trouble
        self._operations = Operations(records)
        self.routes = (
            Route("POST", PATH, self.create, frozenset({"batchId", "requestId"})),
            Route("GET", PATH, self.list, frozenset({"filter", "orderBy", "pageSize", "pageToken"})),
            Route("GET", f"{PATH}/{{batch}}", self.get),
            Route("DELETE", f"{PATH}/{{batch}}", self.delete),
        )

    def create(self, request: Request) -> dict[str, Any]:
        """Begin a batch, unless the service would refuse it."""
        from google.cloud import dataproc_v1

        batch = parsed(dataproc_v1.Batch, request.body)
        parent = f"projects/{request.at['project']}/locations/{request.at['region']}"
        batch_id = request.query.get("batchId") or f"batch-{uuid.uuid4().hex[:12]}"
        name = f"{parent}/batches/{batch_id}"
        with self._records.lock:
            repeated = self._operations.of_request(request_id(request.query), name)
            if repeated:
                return repeated
            self._check(batch, batch_id, request.at["region"])
            if self._records.get("batches", name):
                raise ApiError(409, f"Already exists: Failed to create batch: Batch {name}")
            batch |= {"name": name, "uuid": str(uuid.uuid4()), "createTime": stamp(), "state": "PENDING"}
            metadata = {"@type": f"{DATAPROC}BatchOperationMetadata", "batch": name, "batchUuid": batch["uuid"],
                        "createTime": stamp(), "operationType": "BATCH", "description": "Batch"}  # fmt: skip
            operation = self._operations.begin(parent, metadata, name, request_id(request.query))
            batch["operation"] = operation["name"]
            self._records.put("batches", name, {"id": batch_id, "batch": batch, "region": request.at["region"]})
            return operation

    def get(self, request: Request) -> dict[str, Any]:
        """One batch."""
        batch: dict[str, Any] = self._record(request)["batch"]
        return batch

    def list(self, request: Request) -> dict[str, Any]:
        """Batches of a region that a filter lets through."""
        parent = f"projects/{request.at['project']}/locations/{request.at['region']}/"
        here = [
            record["batch"] for record in self._records.all("batches") if record["batch"]["name"].startswith(parent)
        ]
        fields = {"state": lambda batch: batch["state"], "batch_id": lambda batch: batch["name"].rpartition("/")[2]}
        return page_of(filtered(here, request.query.get("filter", ""), fields), request.query, "batches")

    def delete(self, request: Request) -> dict[str, Any]:
        """Forget a batch that has ended."""
        with self._records.lock:
            batch = self._record(request)["batch"]
            if batch["state"] not in ENDED:
                message = f"Batch {batch['name']} is in state {batch['state']} and cannot be deleted: it has not ended."
                raise ApiError(400, message, "FAILED_PRECONDITION")
            self._records.drop("batches", batch["name"])
            return {}

    def cancel(self, operation: str) -> None:
        """Begin to end the batch of an operation."""
        for record in self._records.all("batches"):
            if record["batch"]["operation"] == operation and record["batch"]["state"] not in ENDED:
                self._enter(record, "CANCELLING")

    def proceed(self) -> bool:
        """Let time do its work; whether any batch has not ended."""
        with self._records.lock:
            for record in self._records.all("batches"):
                if record["batch"]["state"] not in ENDED:
                    self._advance(record)
            return any(record["batch"]["state"] not in ENDED for record in self._records.all("batches"))

    def _check(self, batch: dict[str, Any], batch_id: str, region: str) -> None:
        if not NAME.fullmatch(batch_id):
            raise ApiError(
                400, f"Invalid batch id '{batch_id}': it must be 4-63 lowercase letters, digits and hyphens."
            )
        check_labels(batch.get("labels", {}))
        if "pysparkBatch" not in batch:
            raise ApiError(501, "A rehearsal runs batches of type pysparkBatch alone.")
        check_pyspark(batch["pysparkBatch"], self._buckets)
        if "dataproc" in self._trouble.faults.no_quota:
            raise ApiError(
                400, f"Insufficient 'CPUS' quota. Requested 12.0, available 0.0. Quota of region '{region}'."
            )

    def _record(self, request: Request) -> Record:
        name = f"projects/{request.at['project']}/locations/{request.at['region']}/batches/{request.at['batch']}"
        record = self._records.get("batches", name)
        if record is None:
            raise ApiError(404, f"Not found: Batch {name}")
        return record

    def _advance(self, record: Record) -> None:
        batch = record["batch"]
        if batch["state"] == "PENDING":
            self._start(record)
        elif batch["state"] == "CANCELLING":
            self._end(record, "CANCELLED")
        elif self._is_over(batch):
            self._end(record, "CANCELLED", "Batch exceeded its time to live.")
        elif not self._drivers.running(record):
            if self._drivers.exit_code(record) == 0:
                self._enter(record, "SUCCEEDED")
            else:
                self._enter(record, "FAILED", f"Job failed with message [{self._drivers.reason(record)}].")

    def _start(self, record: Record) -> None:
        batch, region = record["batch"], record["region"]
        if region in self._trouble.faults.no_capacity:
            self._enter(record, "FAILED", (
                "Error Code: UNAVAILABLE, errorSource: COMPUTE_ENGINE, Error Message: ZONE_RESOURCE_POOL_EXHAUSTED: "
                f"The region '{region}' does not have enough resources available to fulfill the request. Try later."
            ))  # fmt: skip
            return
        properties = spark_properties(batch.get("runtimeConfig", {}).get("properties", {}))
        self._drivers.start(record, batch["pysparkBatch"], properties, None, sys.executable)
        self._enter(record, "RUNNING")

    @staticmethod
    def _is_over(batch: dict[str, Any]) -> bool:
        ttl = batch.get("environmentConfig", {}).get("executionConfig", {}).get("ttl")
        return ttl is not None and moment_of(stamp()) - moment_of(batch["createTime"]) > seconds_of(ttl)

    def _end(self, record: Record, state: str, message: str = "") -> None:
        if record.get("attempt") and self._drivers.running(record):
            self._drivers.kill(record, lambda: self._records.put("batches", record["batch"]["name"], record))
            return
        self._enter(record, state, message)

    def _enter(self, record: Record, state: str, message: str = "") -> None:
        batch = record["batch"]
        history = {"state": batch["state"], "stateStartTime": batch.get("stateTime", batch["createTime"])}
        batch["stateHistory"] = [*batch.get("stateHistory", []), history]
        batch |= {"state": state, "stateTime": stamp()} | ({"stateMessage": message} if message else {})
        self._records.put("batches", batch["name"], record)
        if state in ENDED and record.get("attempt"):
            self._drivers.put_away(record)
        if state == "SUCCEEDED":
            self._operations.end(batch["operation"], {"@type": f"{DATAPROC}Batch"} | batch)
        elif state in ENDED:
            code = 1 if state == "CANCELLED" else 9
            self._operations.end(batch["operation"], error={"code": code, "message": message or f"Batch is {state}"})
