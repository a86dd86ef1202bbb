"""Google's own clients for Dataproc and Vertex AI, over REST: to Google, or to what stands in for it."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from ferlab.compute.failures import passes, told
from ferlab.compute.target import JOB, Target

ANSWER_S = 60.0
PATIENCE_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 20.0
EVERYWHERE = "global"


class Clients:
    """The clients of one target, one a region, made when they are first needed; calls repeat what passes by itself.

    Every method takes and gives the messages of the clients' own types; a request is a dict as REST has it.
    ``patience_s``: how long a call is repeated.

    Errors: UserError in one line for whatever a service refuses.
    """

    def __init__(self, target: Target, credentials: Any = None) -> None:
        self.target, self.patience_s = target, PATIENCE_S
        self._credentials = credentials
        self._made: dict[tuple[str, str], Any] = {}

    def create_cluster(self, request: dict[str, Any]) -> Any:
        """The long-running operation."""
        from google.cloud import dataproc_v1 as dataproc

        message, region = _parsed(dataproc.CreateClusterRequest, request), request["region"]
        return self._call(
            region, "create a cluster", self._dataproc("ClusterController", region).create_cluster, message
        )

    def failure(self, operation: Any) -> str:
        """Why a long-running operation did not make what it should; empty when it does not say."""
        with contextlib.suppress(Exception):  # what it was to make tells that it failed, this says more of it
            error = operation.exception(timeout=ANSWER_S)
            return str(getattr(error, "message", error) or "")
        return ""

    def cluster(self, region: str, name: str) -> Any:
        """A cluster, None when there is none of that name."""
        client = self._dataproc("ClusterController", region)
        asked = {"project_id": self.target.project, "region": region, "cluster_name": name}
        return self._found(region, "look at a cluster", client.get_cluster, asked)

    def clusters(self, region: str, owner_filter: str) -> list[Any]:
        """The clusters of a region that fit a filter of Dataproc's."""
        client = self._dataproc("ClusterController", region)
        asked = {"project_id": self.target.project, "region": region, "filter": owner_filter}
        return self._listed(region, "list clusters", client.list_clusters, asked)

    def delete_cluster(self, region: str, name: str) -> Any:
        """The long-running operation, None when there is no such cluster."""
        client = self._dataproc("ClusterController", region)
        asked = {"project_id": self.target.project, "region": region, "cluster_name": name}
        return self._found(region, "delete a cluster", client.delete_cluster, asked)

    def submit_job(self, request: dict[str, Any]) -> Any:
        """The job as it was accepted."""
        from google.cloud import dataproc_v1 as dataproc

        message, region = _parsed(dataproc.SubmitJobRequest, request), request["region"]
        return self._call(region, "start the Spark job", self._dataproc("JobController", region).submit_job, message)

    def job(self, region: str, job_id: str) -> Any:
        """A Spark job, None when it is not there."""
        asked = {"project_id": self.target.project, "region": region, "job_id": job_id}
        return self._found(region, "look at the Spark job", self._dataproc("JobController", region).get_job, asked)

    def create_batch(self, request: dict[str, Any]) -> Any:
        """The long-running operation."""
        from google.cloud import dataproc_v1 as dataproc

        message, region = _parsed(dataproc.CreateBatchRequest, request), _region_of(request["parent"])
        return self._call(region, "start a batch", self._dataproc("BatchController", region).create_batch, message)

    def batch(self, region: str, batch_id: str) -> Any:
        """A serverless batch, None when it is not there."""
        asked = {"name": f"projects/{self.target.project}/locations/{region}/batches/{batch_id}"}
        return self._found(region, "look at a batch", self._dataproc("BatchController", region).get_batch, asked)

    def batches(self, region: str, label_filter: str) -> list[Any]:
        """The batches of a region that fit a filter of Dataproc's."""
        asked = {"parent": f"projects/{self.target.project}/locations/{region}", "filter": label_filter}
        return self._listed(region, "list batches", self._dataproc("BatchController", region).list_batches, asked)

    def delete_batch(self, region: str, batch_id: str) -> None:
        """Forget a batch; one that runs is cancelled by the caller first."""
        asked = {"name": f"projects/{self.target.project}/locations/{region}/batches/{batch_id}"}
        self._found(region, "delete a batch", self._dataproc("BatchController", region).delete_batch, asked)

    def cancel(self, region: str, operation: str) -> None:
        """Ask for the end of what an operation makes."""
        client = self._dataproc("BatchController", region)
        self._found(region, "cancel a batch", client.cancel_operation, {"name": operation})

    def create_custom_job(self, request: dict[str, Any]) -> Any:
        """The training as it was accepted.

        Vertex AI knows no request id: before a request is repeated, its job is looked for by its label. One that has
        ended was of an earlier command, which was not answered and cancelled it.
        """
        from google.cloud import aiplatform_v1 as vertex

        message, region = _parsed(vertex.CreateCustomJobRequest, request), _region_of(request["parent"])
        client = self._vertex(region)
        label = request["customJob"]["labels"][JOB]

        def create(asked: Any, **options: Any) -> Any:
            same = client.list_custom_jobs({"parent": asked.parent, "filter": labelled(JOB, label)}, **options)
            there = [job for job in same if not job.end_time]
            return there[0] if there else client.create_custom_job(asked, **options)

        return self._call(region, "start a training", create, message)

    def custom_job(self, region: str, name: str) -> Any:
        """A training by its resource name, None when it is not there."""
        return self._found(region, "look at a training", self._vertex(region).get_custom_job, {"name": name})

    def custom_jobs(self, region: str, label_filter: str) -> list[Any]:
        """The trainings of a region that fit a filter of Vertex's."""
        asked = {"parent": f"projects/{self.target.project}/locations/{region}", "filter": label_filter}
        return self._listed(region, "list trainings", self._vertex(region).list_custom_jobs, asked)

    def cancel_custom_job(self, region: str, name: str) -> None:
        """Ask for its end."""
        self._found(region, "cancel a training", self._vertex(region).cancel_custom_job, {"name": name})

    def quotas(self, service: str) -> list[Any]:
        """What the project may use of a service (``aiplatform.googleapis.com``), as Cloud Quotas has it."""
        from google.cloud import cloudquotas_v1 as cloudquotas

        own = self.target.endpoints.quotas or "https://cloudquotas.googleapis.com"
        client = self._client("CloudQuotas", EVERYWHERE, cloudquotas.CloudQuotasClient, own)
        asked = {
            "parent": f"projects/{self.target.project}/locations/{EVERYWHERE}/services/{service}",
            "page_size": 1000,
        }
        return self._listed(EVERYWHERE, "read quotas", client.list_quota_infos, asked)

    def _dataproc(self, service: str, region: str) -> Any:
        from google.cloud import dataproc_v1 as dataproc

        own = self.target.endpoints.dataproc or f"https://{region}-dataproc.googleapis.com"
        return self._client(service, region, getattr(dataproc, f"{service}Client"), own)

    def _vertex(self, region: str) -> Any:
        from google.cloud import aiplatform_v1 as vertex

        own = self.target.endpoints.vertex or f"https://{region}-aiplatform.googleapis.com"
        return self._client("CustomJob", region, vertex.JobServiceClient, own)

    def _client(self, service: str, region: str, kind: Any, endpoint: str) -> Any:
        from google.auth.credentials import AnonymousCredentials

        if (service, region) not in self._made:
            credentials = AnonymousCredentials() if self.target.is_rehearsal else self._credentials
            options = {"api_endpoint": endpoint}
            self._made[service, region] = kind(transport="rest", client_options=options, credentials=credentials)
        return self._made[service, region]

    def _call(self, region: str, what: str, method: Callable[..., Any], request: Any) -> Any:
        from google.api_core.retry import Retry

        retry = Retry(predicate=passes, initial=FIRST_PAUSE_S, maximum=LONGEST_PAUSE_S, timeout=self.patience_s)
        try:
            # the clients' own repetition is left out: it differs from method to method
            return retry(method)(request, retry=None, timeout=ANSWER_S)
        except Exception as error:
            translated = told(error, self.target, region, what)
            if translated is error:
                raise
            raise translated from error

    def _listed(self, region: str, what: str, method: Callable[..., Any], request: Any) -> list[Any]:
        """All pages of a list."""
        return list(self._call(region, what, lambda asked, **options: list(method(asked, **options)), request))

    def _found(self, region: str, what: str, method: Callable[..., Any], request: Any) -> Any:
        from google.api_core.exceptions import NotFound

        def unless_absent(asked: Any, **options: Any) -> Any:
            try:
                return method(asked, **options)
            except NotFound:
                return None

        return self._call(region, what, unless_absent, request)


def _parsed(kind: Any, request: dict[str, Any]) -> Any:
    """The request as a message of the client's type; a field that it does not have is an error."""
    return kind.from_json(json.dumps(request), ignore_unknown_fields=False)


def _region_of(parent: str) -> str:
    return parent.rpartition("/")[2]


def labelled(key: str, value: str) -> str:
    """A filter of Vertex AI's for what carries a label."""
    return f'labels.{key}="{value}"'
