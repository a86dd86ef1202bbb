"""Vertex AI's custom jobs: containers of a training as processes of this machine, preempted when that is asked for."""

import secrets
import time
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.clusters import check_labels
from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.filters import filtered
from ferlab.compute.rehearsal.machines import check_machine, quota_metrics
from ferlab.compute.rehearsal.operations import EMPTY, Operations
from ferlab.compute.rehearsal.records import Record, Records, moment_of, seconds_of, stamp
from ferlab.compute.rehearsal.replicas import Replicas, replica_count, runnable, say
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of, parsed

PATH = "/v1/projects/{project}/locations/{region}/customJobs"
QUEUED, PENDING, RUNNING = "JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"
SUCCEEDED, FAILED = "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"
CANCELLING, CANCELLED = "JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})
PREEMPTION_S = 5.0
CANCEL_S = 30.0
OTHERS_S = 30.0
"""How long other replicas may go on when the primary one has ended well."""
LONGEST = "604800s"
CODES = {"failed": 3, "deadline": 4, "exhausted": 8, "internal": 13}


class CustomJobs:
    """The REST methods of JobService for custom jobs, and what happens by itself."""

    def __init__(self, folder: Path, records: Records, storage: str, trouble: Trouble) -> None:
        self._folder, self._records, self._storage, self._trouble = folder, records, storage, trouble
        self._operations = Operations(records)
        self.routes = (
            Route("POST", PATH, self.create),
            Route("GET", PATH, self.list, frozenset({"filter", "pageSize", "pageToken", "readMask"})),
            Route("GET", f"{PATH}/{{job}}", self.get),
            Route("POST", f"{PATH}/{{job}}:cancel", self.cancel),
            Route("DELETE", f"{PATH}/{{job}}", self.delete),
        )

    def create(self, request: Request) -> dict[str, Any]:
        """Take a job, unless the service would refuse it."""
        from google.cloud import aiplatform_v1

        job = parsed(aiplatform_v1.CustomJob, request.body)
        self._check(job)
        parent = f"projects/{request.at['project']}/locations/{request.at['region']}"
        now = stamp()
        job |= {
            "name": f"{parent}/customJobs/{secrets.randbelow(9 * 10**18) + 10**18}",
            "state": QUEUED,
            "createTime": now,
            "updateTime": now,
        }
        with self._records.lock:
            self._records.put("customJobs", job["name"], {"job": job, "region": request.at["region"], "attempt": 0})
        return job

    def get(self, request: Request) -> dict[str, Any]:
        """One job."""
        job: dict[str, Any] = self._record(request)["job"]
        return job

    def list(self, request: Request) -> dict[str, Any]:
        """Jobs of a region that a filter lets through, the newest first."""
        parent = f"projects/{request.at['project']}/locations/{request.at['region']}/"
        with self._records.lock:
            here = [
                record["job"] for record in self._records.all("customJobs") if record["job"]["name"].startswith(parent)
            ]
        fields = {
            "state": lambda job: job["state"],
            "display_name": lambda job: job["displayName"],
            "displayName": lambda job: job["displayName"],
        }
        found = filtered(
            sorted(here, key=lambda job: job["createTime"], reverse=True), request.query.get("filter", ""), fields
        )
        return page_of(found, request.query, "customJobs")

    def cancel(self, request: Request) -> dict[str, Any]:
        """Begin to end a job; one that has ended stays as it is."""
        with self._records.lock:
            record = self._record(request)
            if record["job"]["state"] not in ENDED | {CANCELLING}:
                self._enter(record, CANCELLING, cancelled_at=time.time())
                if record["attempt"]:
                    self._replicas(record).ask_to_end()
            return {}

    def delete(self, request: Request) -> dict[str, Any]:
        """Forget a job that has ended."""
        with self._records.lock:
            record = self._record(request)
            job = record["job"]
            if job["state"] not in ENDED:
                message = (
                    f"The CustomJob {job['name']} is in state {job['state']} and cannot be deleted: cancel it first."
                )
                raise ApiError(400, message, "FAILED_PRECONDITION")
            self._records.drop("customJobs", job["name"])
            parent = f"projects/{request.at['project']}/locations/{request.at['region']}"
            kind = "type.googleapis.com/google.cloud.aiplatform.v1.DeleteOperationMetadata"
            operation = self._operations.begin(parent, {"@type": kind}, job["name"])
            self._operations.end(operation["name"], EMPTY)
            return operation | {"done": True, "response": EMPTY}

    def proceed(self) -> bool:
        """Let time do its work; whether any job has not ended."""
        with self._records.lock:
            for record in self._records.all("customJobs"):
                if record["job"]["state"] not in ENDED:
                    self._advance(record)
            return any(record["job"]["state"] not in ENDED for record in self._records.all("customJobs"))

    def _check(self, job: dict[str, Any]) -> None:
        if not 0 < len(job.get("displayName", "")) <= 128:
            raise ApiError(
                400, "List of found errors:\t1.Field: custom_job.display_name; Message: Required field is not set.\t"
            )
        check_labels(job.get("labels", {}))
        pools = job.get("jobSpec", {}).get("workerPoolSpecs", [])
        if not pools or replica_count(pools[0]) != 1:
            raise ApiError(400, "The first worker pool is the primary replica: its replica count must be 1.")
        for pool in (pool for pool in pools if pool):
            check_machine(pool.get("machineSpec", {}))
            if "containerSpec" not in pool:
                raise ApiError(501, "A rehearsal runs worker pools with a containerSpec alone.")
            if not pool["containerSpec"].get("imageUri"):
                raise ApiError(400, "Field: container_spec.image_uri; Message: Required field is not set.")
            cannot = runnable(pool) if replica_count(pool) else ""
            if cannot:
                raise ApiError(400, f"Invalid value for container_spec: {cannot}.")
        output = job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", "gs://")
        if not output.startswith("gs://"):
            raise ApiError(400, f"Invalid value for base_output_directory: '{output}' is no Cloud Storage path.")
        if "vertex" in self._trouble.faults.no_quota:
            spot = job["jobSpec"].get("scheduling", {}).get("strategy") == "SPOT"
            metrics = ", ".join(quota_metrics([pool for pool in pools if replica_count(pool)], spot))
            raise ApiError(429, f"The following quota metrics exceed quota limits: {metrics}")

    def _record(self, request: Request) -> Record:
        name = f"projects/{request.at['project']}/locations/{request.at['region']}/customJobs/{request.at['job']}"
        record = self._records.get("customJobs", name)
        if record is None:
            raise ApiError(404, f"The CustomJob {name} does not exist.")
        return record

    def _advance(self, record: Record) -> None:
        state = record["job"]["state"]
        if state == QUEUED:
            self._enter(record, PENDING)
        elif state == PENDING:
            self._begin(record)
        elif state == CANCELLING:
            if not record["attempt"] or self._replicas(record).end(record["cancelled_at"], CANCEL_S):
                self._enter(record, CANCELLED)
        elif "preempted_at" in record:
            self._go_on(record)
        elif "failed" in record:
            if self._replicas(record).end(record["failed_at"], PREEMPTION_S):
                self._enter(record, FAILED, error=record["failed"])
        else:
            self._watch(record)

    def _begin(self, record: Record) -> None:
        region = record["region"]
        if region in self._trouble.faults.no_capacity:
            message = (
                f"Resources are insufficient in region: {region}. Please try a different region or a different machine."
            )
            self._enter(record, FAILED, error={"code": CODES["exhausted"], "message": message})
            return
        self._next_attempt(record)
        self._enter(record, RUNNING)

    def _next_attempt(self, record: Record) -> None:
        """Begin it; a server that is killed before this is written comes here again, and finds it begun."""
        record["attempt"] += 1
        self._replicas(record).start(self._storage)

    def _watch(self, record: Record) -> None:
        replicas = self._replicas(record)
        codes = replicas.exit_codes()
        failed = {name: code for name, code in codes.items() if code}
        primary = next(iter(codes))
        if failed:
            self._fail(record, CODES["failed"], self._exit_words(record, *next(iter(failed.items()))))
        elif codes[primary] == 0:
            if record.setdefault("primary_ended_at", time.time()) + OTHERS_S < time.time():
                replicas.ask_to_end()
            if all(code is not None for code in codes.values()):
                self._enter(record, SUCCEEDED)
        elif self._is_over(record):
            self._fail(record, CODES["deadline"], "The job exceeded its timeout and was stopped.")
        elif self._is_to_be_preempted(record, replicas):
            for replica in replicas:
                say(replica.log, "The machine is preempted.")
            record["preempted_at"] = time.time()
            self._records.put("customJobs", record["job"]["name"], record)
            replicas.ask_to_end()

    def _go_on(self, record: Record) -> None:
        """After a preemption: on a new machine, or not at all."""
        replicas = self._replicas(record)
        if not replicas.end(record["preempted_at"], PREEMPTION_S):
            return
        replicas.forget_machines()
        scheduling = record["job"]["jobSpec"].get("scheduling", {})
        restarts = scheduling.get("restartJobOnWorkerRestart") or scheduling.get("strategy") == "SPOT"
        wanted = self._trouble.faults.restarts
        if restarts and not scheduling.get("disableRetries") and (wanted is None or record["attempt"] <= wanted):
            del record["preempted_at"]
            for replica in replicas:
                say(replica.log, f"The replica {replica.name} was terminated by a preemption; the job is restarted.")
            self._next_attempt(record)
            self._records.put("customJobs", record["job"]["name"], record)
            return
        message = "Internal error occurred: the replica workerpool0-0 was terminated since its machine was preempted."
        self._enter(record, FAILED, error={"code": CODES["internal"], "message": message})

    def _is_to_be_preempted(self, record: Record, replicas: Replicas) -> bool:
        after, began = self._trouble.faults.preempt_after_s, replicas.began()
        attempt = record["attempt"] + self._attempts_before(record)
        return began is not None and attempt <= len(after) and time.time() - began > after[attempt - 1]

    def _attempts_before(self, record: Record) -> int:
        """Attempts of the jobs that were sent before for the same work: those with its output folder."""
        own, began = _output(record["job"]), record["job"]["createTime"]
        earlier = (one for one in self._records.all("customJobs") if one["job"]["createTime"] < began)
        return sum(one["attempt"] for one in earlier if own and _output(one["job"]) == own)

    @staticmethod
    def _is_over(record: Record) -> bool:
        timeout = record["job"]["jobSpec"].get("scheduling", {}).get("timeout", LONGEST)
        return time.time() - moment_of(record["job"]["startTime"]) > seconds_of(timeout)

    def _exit_words(self, record: Record, replica: str, code: int) -> str:
        status = code if code >= 0 else 128 - code
        _, project, _, _, _, job_id = record["job"]["name"].split("/")
        return (
            f"The replica {replica} exited with a non-zero status of {status}. To find out more about why your job "
            f"exited please check the logs: https://console.cloud.google.com/logs/viewer?project={project}"
            f"&resource=ml_job%2Fjob_id%2F{job_id}"
        )

    def _fail(self, record: Record, code: int, message: str) -> None:
        record |= {"failed": {"code": code, "message": message}, "failed_at": time.time()}
        self._records.put("customJobs", record["job"]["name"], record)
        self._replicas(record).ask_to_end()

    def _enter(self, record: Record, state: str, error: dict[str, Any] | None = None, **known: Any) -> None:
        job, now = record["job"], stamp()
        job |= {"state": state, "updateTime": now} | ({"error": error} if error else {})
        if state == RUNNING:
            job["startTime"] = now
        if state in ENDED:
            job["endTime"] = now
            if record["attempt"]:
                primary = next(iter(self._replicas(record)))
                say(primary.log, f"Job ended: {state}. {(error or {}).get('message', '')}".strip())
                self._replicas(record).forget_machines()
        record |= known
        self._records.put("customJobs", job["name"], record)

    def _replicas(self, record: Record) -> Replicas:
        job = record["job"]
        return Replicas(self._folder / "jobs" / job["name"].rpartition("/")[2], job, record["attempt"])


def _output(job: dict[str, Any]) -> str:
    return str(job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", ""))
