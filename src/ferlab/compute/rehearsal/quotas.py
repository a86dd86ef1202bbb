"""What a rehearsed project may use of Vertex AI and Compute Engine, as the Cloud Quotas service tells it."""

from typing import Any

from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.machines import WITH_THEIR_OWN, quota_metrics
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of

PLENTY = 10_000
VERTEX, COMPUTE = "aiplatform.googleapis.com", "compute.googleapis.com"
PROCESSORS = ("cpus", "preemptible_cpus", "n2_cpus", "n2d_cpus", "c2_cpus", "c3_cpus")


class Quotas:
    """The quotas of GPUs and processors; nothing of them with ``no_quota=[vertex]`` and ``[dataproc]``."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        pattern = "/v1/projects/{project}/locations/global/services/{service}/quotaInfos"
        self.routes = (Route("GET", pattern, self.list, frozenset({"pageSize", "pageToken"})),)

    def list(self, request: Request) -> dict[str, Any]:
        """``quotaInfos.list``: one value for all regions."""
        service = request.at["service"]
        if service == VERTEX:
            metrics, refused = _gpu_metrics(), "vertex"
        elif service == COMPUTE:
            metrics, refused = [f"{COMPUTE}/{name}" for name in PROCESSORS], "dataproc"
        else:
            raise ApiError(404, f"Service {service} is not rehearsed.")
        value = 0 if refused in self._trouble.faults.no_quota else PLENTY
        parent = f"projects/{request.at['project']}/locations/global/services/{service}/quotaInfos"
        infos = []
        for metric in metrics:
            name = metric.rpartition("/")[2].title().replace("_", "") + "PerProjectPerRegion"
            values = [{"details": {"value": str(value)}, "applicableLocations": []}]
            infos.append({
                "name": f"{parent}/{name}", "quotaId": name, "metric": metric, "service": service,
                "isPrecise": True, "containerType": "PROJECT", "dimensions": ["region"], "dimensionsInfos": values,
            })  # fmt: skip
        return page_of(infos, request.query, "quotaInfos")


def _gpu_metrics() -> list[str]:
    kinds = dict.fromkeys(kind for kind, _ in WITH_THEIR_OWN.values())
    pools = [([{"machineSpec": {"acceleratorType": kind}}], spot) for kind in kinds for spot in (False, True)]
    return [metric for pool, spot in pools for metric in quota_metrics(pool, spot)]
