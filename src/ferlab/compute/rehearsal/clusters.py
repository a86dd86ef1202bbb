"""Dataproc's clusters: created by their initialization actions, deleted when asked to or when their time is over."""

import hashlib
import re
import time
import uuid
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.environment import NodeEnvironment, environment_key
from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.filters import filtered
from ferlab.compute.rehearsal.operations import DATAPROC, EMPTY, Operations
from ferlab.compute.rehearsal.records import Records, moment_of, seconds_of, stamp
from ferlab.compute.rehearsal.storage import Buckets
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of, parsed, request_id

PATH = "/v1/projects/{project}/regions/{region}/clusters"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,49}[a-z0-9])?")
LABEL = re.compile(r"[a-z][-_a-z0-9]{0,62}"), re.compile(r"[-_a-z0-9]{0,63}")
ACTIVE = frozenset({"CREATING", "UPDATING", "RUNNING"})
GROUPS = {"ACTIVE": ACTIVE, "INACTIVE": frozenset({"DELETING", "ERROR", "STOPPING", "STOPPED"})}
LIFETIMES_S = {"idleDeleteTtl": (300, 14 * 86400), "autoDeleteTtl": (600, 14 * 86400)}
CPUS_AVAILABLE = 0.0
NOTED_S = 5.0
"""How exactly the end of a cluster's last job is known."""


class Clusters:
    """The REST methods of ClusterController, and what happens by itself."""

    def __init__(self, folder: Path, records: Records, buckets: Buckets, storage: str, trouble: Trouble) -> None:
        self._folder, self._records, self._buckets, self._trouble = folder, records, buckets, trouble
        self._storage = storage
        self._operations = Operations(records)
        self.routes = (
            Route("POST", PATH, self.create, frozenset({"requestId", "actionOnFailedPrimaryWorkers"})),
            Route("GET", PATH, self.list, frozenset({"filter", "pageSize", "pageToken"})),
            Route("GET", f"{PATH}/{{cluster}}", self.get),
            Route("DELETE", f"{PATH}/{{cluster}}", self.delete, frozenset({"clusterUuid", "requestId"})),
        )

    def create(self, request: Request) -> dict[str, Any]:
        """Begin a cluster, unless the service would refuse it."""
        from google.cloud import dataproc_v1

        cluster = parsed(dataproc_v1.Cluster, request.body)
        name, project, region = cluster.get("clusterName", ""), request.at["project"], request.at["region"]
        key, parent = cluster_key(project, region, name), f"projects/{project}/regions/{region}"
        with self._records.lock:
            repeated = self._operations.of_request(request_id(request.query), key)
            if repeated:
                return repeated
            self._check(cluster, project, region)
            if self._records.get("clusters", key):
                raise ApiError(409, f"Already exists: Failed to create cluster: Cluster {parent}/clusters/{name}")
            status = {"state": "CREATING", "stateStartTime": stamp()}
            cluster |= {"projectId": project, "clusterUuid": str(uuid.uuid4()), "status": status}
            cluster["config"] = {"configBucket": self._staging(project, region)} | cluster.get("config", {})
            metadata = self._metadata(cluster, "CREATE", f"Create cluster {name}")
            operation = self._operations.begin(parent, metadata, key, request_id(request.query))
            environment = environment_key(cluster, self._buckets)
            record = {"cluster": cluster, "region": region, "operation": operation["name"], "environment": environment}
            self._records.put("clusters", key, record | {"idle_since": time.time(), "began": time.time()})
            return operation

    def get(self, request: Request) -> dict[str, Any]:
        """One cluster."""
        cluster: dict[str, Any] = self.record(request.at["project"], request.at["region"], request.at["cluster"])[
            "cluster"
        ]
        return cluster

    def list(self, request: Request) -> dict[str, Any]:
        """Clusters of a region that a filter lets through."""
        here = [
            record["cluster"]
            for record in self._records.all("clusters")
            if (record["cluster"]["projectId"], record["region"]) == (request.at["project"], request.at["region"])
        ]
        fields = {
            "status.state": lambda cluster: cluster["status"]["state"],
            "clusterName": lambda cluster: cluster["clusterName"],
        }
        return page_of(filtered(here, request.query.get("filter", ""), fields, GROUPS), request.query, "clusters")

    def delete(self, request: Request) -> dict[str, Any]:
        """Begin to delete a cluster; what runs on it is killed."""
        project, region, name = (request.at[part] for part in ("project", "region", "cluster"))
        with self._records.lock:
            record = self.record(project, region, name)
            key = cluster_key(project, region, name)
            repeated = self._operations.of_request(request_id(request.query), key)
            if repeated:
                return repeated
            asked = request.query.get("clusterUuid", "")
            if asked and asked != record["cluster"]["clusterUuid"]:
                raise ApiError(404, f"Not found: Cluster {self._path(record)} with UUID {asked}")
            metadata = self._metadata(record["cluster"], "DELETE", "Delete cluster")
            parent = f"projects/{project}/regions/{region}"
            operation = self._operations.begin(parent, metadata, key, request_id(request.query))
            if record["cluster"]["status"]["state"] == "CREATING":
                words = "The cluster was deleted while it was being created."
                self._operations.end(record["operation"], error={"code": 1, "message": words})
            self._enter(record, "DELETING", deletion=operation["name"])
            return operation

    def record(self, project: str, region: str, name: str) -> dict[str, Any]:
        """What is known of a cluster; a refusal when there is none."""
        record = self._records.get("clusters", cluster_key(project, region, name))
        if record is None:
            raise ApiError(404, f"Not found: Cluster projects/{project}/regions/{region}/clusters/{name}")
        return record

    def environment(self, record: dict[str, Any]) -> NodeEnvironment:
        """What its jobs run with."""
        return NodeEnvironment(self._folder, record["cluster"], record["environment"])

    def proceed(self, busy: frozenset[str]) -> bool:
        """Let time do its work; ``busy``: keys of clusters with a job. Whether any cluster is being made."""
        with self._records.lock:
            for record in self._records.all("clusters"):
                state = record["cluster"]["status"]["state"]
                key = cluster_key(record["cluster"]["projectId"], record["region"], record["cluster"]["clusterName"])
                if state == "CREATING":
                    self._make(record)
                elif state == "DELETING" and key not in busy:
                    self._records.drop("clusters", key)
                    self._operations.end(record.get("deletion", ""), EMPTY, status=_operation_status("DONE"))
                elif state == "RUNNING":
                    self._age(record, key in busy)
            return any(record["cluster"]["status"]["state"] == "CREATING" for record in self._records.all("clusters"))

    def _make(self, record: dict[str, Any]) -> None:
        region = record["region"]
        if region in self._trouble.faults.no_capacity:
            zone = record["cluster"].get("config", {}).get("gceClusterConfig", {}).get("zoneUri", "") or f"{region}-a"
            self._fail(record, 14, (
                "Error Code: UNAVAILABLE, errorSource: COMPUTE_ENGINE, Error Message: ZONE_RESOURCE_POOL_EXHAUSTED: "
                f"The zone 'projects/{record['cluster']['projectId']}/zones/{zone.rpartition('/')[2]}' "
                "does not have enough resources available to fulfill the request. "
                "Try a different zone, or try again later."
            ), detail="")  # fmt: skip
            return
        environment = self.environment(record)
        failed = environment.proceed(self._buckets, self._storage)
        if failed is not None:
            url, log = failed
            place = self._log_place(record["cluster"], log)
            self._fail(record, 3, f"Initialization action failed. Failed action '{url}', see output in: {place}")
        elif environment.ready:
            self._enter(record, "RUNNING", idle_since=time.time())
            made = {"@type": f"{DATAPROC}Cluster"} | record["cluster"]
            self._operations.end(record["operation"], made, status=_operation_status("DONE"))

    def _staging(self, project: str, region: str) -> str:
        """The bucket that the service makes for a cluster that names none."""
        bucket = f"dataproc-staging-{region}-{hashlib.sha256(project.encode()).hexdigest()[:12]}"
        self._buckets.make(bucket, region)
        return bucket

    def _log_place(self, cluster: dict[str, Any], log: Path) -> str:
        bucket = cluster["config"]["configBucket"]
        place = f"gs://{bucket}/google-cloud-dataproc-metainfo/{cluster['clusterUuid']}/{cluster['clusterName']}-m/{log.name}"
        self._buckets.write(place, log.read_bytes() if log.exists() else b"")
        return place

    def _fail(self, record: dict[str, Any], code: int, message: str, detail: str | None = None) -> None:
        """The cluster may say less of what went wrong than the operation that was to make it."""
        self._enter(record, "ERROR", message if detail is None else detail)
        error = {"code": code, "message": message}
        self._operations.end(record["operation"], error=error, status=_operation_status("DONE"))

    def _age(self, record: dict[str, Any], busy: bool) -> None:
        lifecycle = record["cluster"].get("config", {}).get("lifecycleConfig", {})
        now = time.time()
        if busy and now - record["idle_since"] > NOTED_S:
            record["idle_since"] = now
            self._records.put("clusters", self._key(record), record)
        over = (
            ("idleDeleteTtl" in lifecycle and now - record["idle_since"] > seconds_of(lifecycle["idleDeleteTtl"]))
            or ("autoDeleteTtl" in lifecycle and now - record["began"] > seconds_of(lifecycle["autoDeleteTtl"]))
            or ("autoDeleteTime" in lifecycle and now > moment_of(lifecycle["autoDeleteTime"]))
        )
        if over:
            self._enter(record, "DELETING")

    def _enter(self, record: dict[str, Any], state: str, detail: str = "", **known: Any) -> None:
        cluster = record["cluster"]
        cluster["statusHistory"] = [*cluster.get("statusHistory", []), cluster["status"]]
        cluster["status"] = {"state": state, "stateStartTime": stamp()} | ({"detail": detail} if detail else {})
        record |= known
        self._records.put("clusters", self._key(record), record)

    def _check(self, cluster: dict[str, Any], project: str, region: str) -> None:
        name, config = cluster.get("clusterName", ""), cluster.get("config", {})
        if not NAME.fullmatch(name):
            raise ApiError(400, (
                f"Invalid value '{name}' for field 'cluster_name': it must start with a lowercase letter followed by "
                "up to 50 lowercase letters, numbers, or hyphens, and cannot end with a hyphen."
            ))  # fmt: skip
        if cluster.get("projectId", project) != project:
            raise ApiError(
                400, f"Project id '{cluster['projectId']}' of the cluster does not match '{project}' of the request."
            )
        check_labels(cluster.get("labels", {}))
        for field, (least, most) in LIFETIMES_S.items():
            ttl = config.get("lifecycleConfig", {}).get(field)
            if ttl is not None and not least <= seconds_of(ttl) <= most:
                raise ApiError(
                    400, f"Invalid value for lifecycle_config.{field}: '{ttl}' must be between {least}s and {most}s."
                )
        bucket = config.get("configBucket")
        if bucket and not self._buckets.has(f"gs://{bucket}"):
            raise ApiError(400, f"Google Cloud Storage bucket does not exist '{bucket}'.")
        for action in config.get("initializationActions", []):
            if not self._buckets.has(action.get("executableFile", "")):
                raise ApiError(400, f"Google Cloud Storage object does not exist '{action.get('executableFile', '')}'.")
        if "dataproc" in self._trouble.faults.no_quota:
            raise ApiError(400, (
                f"Insufficient 'CPUS' quota. Requested {cpus_of(config):.1f}, available {CPUS_AVAILABLE:.1f}. "
                f"Your resource request exceeds your available quota in region '{region}'."
            ))  # fmt: skip

    def _metadata(self, cluster: dict[str, Any], kind: str, description: str) -> dict[str, Any]:
        return {
            "@type": f"{DATAPROC}ClusterOperationMetadata",
            "clusterName": cluster["clusterName"],
            "clusterUuid": cluster["clusterUuid"],
            "operationType": kind,
            "description": description,
            "status": _operation_status("RUNNING"),
        }

    def _path(self, record: dict[str, Any]) -> str:
        cluster = record["cluster"]
        return f"projects/{cluster['projectId']}/regions/{record['region']}/clusters/{cluster['clusterName']}"

    def _key(self, record: dict[str, Any]) -> str:
        return cluster_key(record["cluster"]["projectId"], record["region"], record["cluster"]["clusterName"])


def cluster_key(project: str, region: str, name: str) -> str:
    """The key of its record."""
    return f"{project}/{region}/{name}"


def check_labels(labels: dict[str, str]) -> None:
    """A refusal of labels that the services would not take."""
    for key, value in labels.items():
        if not (LABEL[0].fullmatch(key) and LABEL[1].fullmatch(value)):
            raise ApiError(
                400, f"Invalid label: '{key}={value}'. Labels hold lowercase letters, numbers, _ and -, up to 63."
            )


def cpus_of(config: dict[str, Any]) -> float:
    """Virtual cores of a cluster's machines, as their types name them."""
    groups = {"masterConfig": 1, "workerConfig": 2, "secondaryWorkerConfig": 0}
    return float(sum(
        config.get(group, {}).get("numInstances", count) * _cores(config.get(group, {}).get("machineTypeUri", ""))
        for group, count in groups.items()
    ))  # fmt: skip


def _operation_status(state: str) -> dict[str, str]:
    return {"state": state, "innerState": state, "stateStartTime": stamp()}


def _cores(machine: str) -> int:
    number = re.search(r"-(\d+)(?:g|gb)?$", machine)
    return int(number[1]) if number else 4
