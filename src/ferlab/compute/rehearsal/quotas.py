"""What a rehearsed project may use of Vertex AI, as the Cloud Quotas service tells it."""

from typing import Any

from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.machines import WITH_THEIR_OWN, quota_metrics
from ferlab.compute.rehearsal.web import ApiError, Request, Route, page_of

PLENTY = 1000
SERVICE = "aiplatform.googleapis.com"


class Quotas:
    """The quotas of GPUs; nothing of them with ``no_quota=[vertex]``."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        pattern = "/v1/projects/{project}/locations/global/services/{service}/quotaInfos"
        self.routes = (Route("GET", pattern, self.list, frozenset({"pageSize", "pageToken"})),)

    def list(self, request: Request) -> dict[str, Any]:
        """``quotaInfos.list``: one value for all regions."""
        if request.at["service"] != SERVICE:
            raise ApiError(404, f"Service {request.at['service']} is not rehearsed.")
        value = 0 if "vertex" in self._trouble.faults.no_quota else PLENTY
        parent = f"projects/{request.at['project']}/locations/global/services/{SERVICE}/quotaInfos"
        infos = []
        for kind in dict.fromkeys(kind for kind, _ in WITH_THEIR_OWN.values()):
            for preemptible in (False, True):
                (metric,) = quota_metrics([{"machineSpec": {"acceleratorType": kind}}], preemptible)
                name = metric.rpartition("/")[2].title().replace("_", "") + "PerProjectPerRegion"
                values = [{"details": {"value": str(value)}, "applicableLocations": []}]
                infos.append({
                    "name": f"{parent}/{name}", "quotaId": name, "metric": metric, "service": SERVICE,
                    "isPrecise": True, "containerType": "PROJECT", "dimensions": ["region"], "dimensionsInfos": values,
                })  # fmt: skip
        return page_of(infos, request.query, "quotaInfos")
