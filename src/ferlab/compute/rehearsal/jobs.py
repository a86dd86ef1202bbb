"""Dataproc's jobs: PySpark on a cluster that runs."""

import uuid
from typing import Any

from ferlab.compute.rehearsal.clusters import Clusters, check_labels, cluster_key
from ferlab.compute.rehearsal.drivers import Drivers
from ferlab.compute.rehearsal.filters import filtered
from ferlab.compute.rehearsal.operations import DATAPROC, Operations
from ferlab.compute.rehearsal.records import Record, Records, stamp
from ferlab.compute.rehearsal.spark import files_of, spark_properties
from ferlab.compute.rehearsal.storage import Buckets
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of, parsed

PATH = "/v1/projects/{project}/regions/{region}/jobs"
ENDED = frozenset({"CANCELLED", "DONE", "ERROR"})
ACTIVE = frozenset({"PENDING", "SETUP_DONE", "RUNNING", "CANCEL_PENDING", "CANCEL_STARTED", "ATTEMPT_FAILURE"})
GROUPS = {"ACTIVE": ACTIVE, "NON_ACTIVE": ENDED}
PYSPARK_FIELDS = frozenset({"mainPythonFileUri", "args", "pythonFileUris", "fileUris", "properties", "loggingConfig"})


class Jobs:
    """The REST methods of JobController, and what happens by itself."""

    def __init__(self, records: Records, clusters: Clusters, buckets: Buckets, drivers: Drivers) -> None:
        self._records, self._clusters, self._buckets, self._drivers = records, clusters, buckets, drivers
        self._operations = Operations(records)
        lists = frozenset({"filter", "pageSize", "pageToken", "clusterName", "jobStateMatcher"})
        self.routes = (
            Route("POST", f"{PATH}:submit", self.submit),
            Route("POST", f"{PATH}:submitAsOperation", self.submit_as_operation),
            Route("GET", PATH, self.list, lists),
            Route("GET", f"{PATH}/{{job}}", self.get),
            Route("POST", f"{PATH}/{{job}}:cancel", self.cancel),
            Route("DELETE", f"{PATH}/{{job}}", self.delete),
        )

    def submit(self, request: Request) -> dict[str, Any]:
        """Take a job, unless the service would refuse it."""
        job: dict[str, Any] = self._submitted(request)["job"]
        return job

    def submit_as_operation(self, request: Request) -> dict[str, Any]:
        """The same, as an operation that ends with the job."""
        with self._records.lock:
            record = self._submitted(request)
            if not record.get("operation"):
                job = record["job"]
                metadata = {
                    "@type": f"{DATAPROC}JobMetadata",
                    "jobId": job["reference"]["jobId"],
                    "status": job["status"],
                    "operationType": "SUBMIT",
                    "startTime": stamp(),
                }
                parent = f"projects/{request.at['project']}/regions/{request.at['region']}"
                record["operation"] = self._operations.begin(parent, metadata, _key(record))["name"]
                self._records.put("jobs", _key(record), record)
            operation: dict[str, Any] = (self._records.get("operations", record["operation"]) or {})["operation"]
            return operation

    def get(self, request: Request) -> dict[str, Any]:
        """One job."""
        job: dict[str, Any] = self._record(request)["job"]
        return job

    def list(self, request: Request) -> dict[str, Any]:
        """Jobs of a region that the request lets through."""
        here = [
            record["job"]
            for record in self._records.all("jobs")
            if (record["project"], record["region"]) == (request.at["project"], request.at["region"])
        ]
        cluster, matcher = request.query.get("clusterName"), request.query.get("jobStateMatcher", "ALL")
        here = [job for job in here if cluster in (None, job["placement"]["clusterName"])]
        states = {"1": ACTIVE, "ACTIVE": ACTIVE, "2": ENDED, "NON_ACTIVE": ENDED}.get(matcher, ACTIVE | ENDED)
        here = [job for job in here if job["status"]["state"] in states]
        fields = {"status.state": lambda job: job["status"]["state"]}
        return page_of(filtered(here, request.query.get("filter", ""), fields, GROUPS), request.query, "jobs")

    def cancel(self, request: Request) -> dict[str, Any]:
        """Begin to end a job; one that has ended stays as it is."""
        with self._records.lock:
            record = self._record(request)
            if record["job"]["status"]["state"] not in ENDED:
                self._enter(record, "CANCEL_PENDING")
            job: dict[str, Any] = record["job"]
            return job

    def delete(self, request: Request) -> dict[str, Any]:
        """Forget a job that has ended."""
        with self._records.lock:
            record = self._record(request)
            if record["job"]["status"]["state"] not in ENDED:
                message = (
                    f"Job '{request.at['job']}' is in state {record['job']['status']['state']} and cannot be deleted."
                )
                raise ApiError(400, message, "FAILED_PRECONDITION")
            self._records.drop("jobs", _key(record))
            return {}

    def proceed(self) -> frozenset[str]:
        """Let time do its work; the keys of clusters that have a job."""
        with self._records.lock:
            for record in self._records.all("jobs"):
                if record["job"]["status"]["state"] not in ENDED:
                    self._advance(record)
            under_way = [
                record for record in self._records.all("jobs") if record["job"]["status"]["state"] not in ENDED
            ]
            return frozenset(
                cluster_key(record["project"], record["region"], record["job"]["placement"]["clusterName"])
                for record in under_way
            )

    def _submitted(self, request: Request) -> Record:
        from google.cloud import dataproc_v1

        asked = parsed(dataproc_v1.SubmitJobRequest, request.body)
        job, project, region = asked.get("job", {}), request.at["project"], request.at["region"]
        job_id = job.get("reference", {}).get("jobId") or str(uuid.uuid4())
        with self._records.lock:
            for record in self._records.all("jobs"):
                if asked.get("requestId") and (record["request"], record["project"], record["region"]) == (
                    asked["requestId"], project, region,
                ):  # fmt: skip
                    return record
            cluster = self._check(job, project, region)
            if self._records.get("jobs", f"{project}/{region}/{job_id}"):
                where = f"projects/{project}/regions/{region}/jobs/{job_id}"
                raise ApiError(409, f"Already exists: Failed to submit job: Job {where}")
            output = f"gs://{cluster['config']['configBucket']}/google-cloud-dataproc-metainfo/{cluster['clusterUuid']}"
            job |= {
                "reference": {"projectId": project, "jobId": job_id},
                "placement": job["placement"] | {"clusterUuid": cluster["clusterUuid"]},
                "status": {"state": "PENDING", "stateStartTime": stamp()},
                "jobUuid": str(uuid.uuid4()),
                "driverOutputResourceUri": f"{output}/jobs/{job_id}/driveroutput",
            }
            record = {
                "id": job_id,
                "job": job,
                "project": project,
                "region": region,
                "request": asked.get("requestId", ""),
            }
            self._records.put("jobs", _key(record), record)
            return record

    def _check(self, job: dict[str, Any], project: str, region: str) -> dict[str, Any]:
        """The cluster of a job that can be taken."""
        check_labels(job.get("labels", {}))
        name = job.get("placement", {}).get("clusterName", "")
        if not name:
            raise ApiError(400, "Cluster name is required")
        cluster: dict[str, Any] = self._clusters.record(project, region, name)["cluster"]
        if cluster["status"]["state"] != "RUNNING":
            message = f"Cluster {name} is in state {cluster['status']['state']} and cannot accept jobs."
            raise ApiError(400, message, "FAILED_PRECONDITION")
        if "pysparkJob" not in job:
            raise ApiError(501, "A rehearsal runs jobs of type pysparkJob alone.")
        check_pyspark(job["pysparkJob"], self._buckets)
        return cluster

    def _record(self, request: Request) -> Record:
        project, region, job = (request.at[part] for part in ("project", "region", "job"))
        record = self._records.get("jobs", f"{project}/{region}/{job}")
        if record is None:
            raise ApiError(404, f"Not found: Job projects/{project}/regions/{region}/jobs/{job}")
        return record

    def _advance(self, record: Record) -> None:
        state = record["job"]["status"]["state"]
        if self._cluster_state(record) in (None, "DELETING"):
            self._end(record, "ERROR", "Cluster was deleted while the job was running.")
        elif state in ("PENDING", "ATTEMPT_FAILURE"):
            self._start(record)
        elif state in ("CANCEL_PENDING", "CANCEL_STARTED"):
            self._end(record, "CANCELLED")
        elif not self._drivers.running(record):
            self._finish(record)

    def _start(self, record: Record) -> None:
        job = record["job"]
        cluster = self._clusters.record(record["project"], record["region"], job["placement"]["clusterName"])
        environment = self._clusters.environment(cluster)
        properties = cluster["cluster"].get("config", {}).get("softwareConfig", {}).get("properties", {})
        try:
            self._drivers.start(
                record, job["pysparkJob"], spark_properties(properties), environment, environment.python
            )
        except KeyError as error:
            self._enter(record, "ERROR", f"Google Cloud Storage object does not exist {error}.")
            return
        self._enter(record, "RUNNING")

    def _end(self, record: Record, state: str, details: str = "") -> None:
        if record.get("attempt") and self._drivers.running(record):
            self._drivers.kill(record, lambda: self._records.put("jobs", _key(record), record))
            return
        self._enter(record, state, details)

    def _finish(self, record: Record) -> None:
        if self._drivers.exit_code(record) == 0:
            self._enter(record, "DONE")
            return
        reason = f"Job failed with message [{self._drivers.reason(record)}]."
        retries = record["job"].get("scheduling", {}).get("maxFailuresPerHour", 0)
        if record["attempt"] <= retries:
            self._enter(record, "ATTEMPT_FAILURE", reason)
            return
        where = record["job"]["driverOutputResourceUri"]
        self._enter(record, "ERROR", f"{reason} Additional details can be found at:\n{where}.*")

    def _enter(self, record: Record, state: str, details: str = "") -> None:
        job = record["job"]
        job["statusHistory"] = [*job.get("statusHistory", []), job["status"]]
        job["status"] = {"state": state, "stateStartTime": stamp()} | ({"details": details} if details else {})
        if state in ENDED:
            job["done"] = True
            if record.get("attempt"):
                self._drivers.put_away(record, f"{job['driverOutputResourceUri']}.000000000")
        self._records.put("jobs", _key(record), record)
        if state in ENDED and record.get("operation"):
            failed = {"code": 1 if state == "CANCELLED" else 3, "message": details or f"Job is {state}"}
            response = {"@type": f"{DATAPROC}Job"} | job
            error = None if state == "DONE" else failed
            self._operations.end(record["operation"], response, error, status=job["status"])

    def _cluster_state(self, record: Record) -> str | None:
        known = self._records.get(
            "clusters", cluster_key(record["project"], record["region"], record["job"]["placement"]["clusterName"])
        )
        same = known and known["cluster"]["clusterUuid"] == record["job"]["placement"]["clusterUuid"]
        return known["cluster"]["status"]["state"] if known and same else None


def check_pyspark(job: dict[str, Any], buckets: Buckets) -> None:
    """A refusal of a PySpark job whose files are not there, or that needs what a rehearsal does not have."""
    if not job.get("mainPythonFileUri"):
        raise ApiError(400, "Main Python file URI is required")
    for field in job.keys() - PYSPARK_FIELDS:
        raise ApiError(501, f"A rehearsal's Spark does not know {field}.")
    for url in files_of(job):
        if not url.startswith("gs://"):
            raise ApiError(400, f"A rehearsal's nodes have no file '{url}': ship it as gs://BUCKET/NAME.")
        if not buckets.has(url):
            raise ApiError(400, f"Google Cloud Storage object does not exist '{url}'.")


def _key(record: Record) -> str:
    return f"{record['project']}/{record['region']}/{record['id']}"
