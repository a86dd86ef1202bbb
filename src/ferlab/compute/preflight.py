"""What can be known to fail is said before anything is created: credentials, project, bucket, regions."""

from collections.abc import Sequence
from typing import Any

from ferlab.compute.clients import Clients
from ferlab.compute.target import OWNER
from ferlab.config.cloud_nodes import Cloud
from ferlab.errors import UserError, first_line
from ferlab.storage.objects import LOGIN, bucket_location, split_url

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
AREAS = {"US": "us-", "EU": "europe-", "ASIA": "asia-"}
"""Regions that a bucket of a whole area serves without paying for the way."""
OUTSIDE = ("europe-west2", "europe-west6")
"""Not in the European Union: a bucket of the area EU does not lie there."""


def credentials_and_project(wanted: str | None) -> tuple[Any, str]:
    """Application Default Credentials, and the project: the one named, else theirs.

    Raises:
        UserError: there are no credentials, or no project is named anywhere.

    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, own = google.auth.default(scopes=SCOPES)
    except GoogleAuthError as error:
        message = f"compute: no credentials for Google Cloud ({first_line(error, 80)}). {LOGIN}"
        raise UserError(message) from error
    project = wanted or own
    if not project:
        message = "compute.cloud.project: the credentials name no project. Give the id of yours."
        raise UserError(message)
    if getattr(credentials, "quota_project_id", None):  # a person's: requests count for the project that they go to
        credentials = credentials.with_quota_project(str(project))
    return credentials, str(project)


def check_regions(places: Sequence[str], cloud: Cloud) -> None:
    """UserError when a bucket is not there, or lies elsewhere than the machines."""
    for place in dict.fromkeys(places):
        location = bucket_location(place)
        for region in cloud.regions:
            if not lies_in(region, location):
                bucket = split_url(place)[0]
                message = (
                    f"compute.cloud.regions: {region} is not where gs://{bucket} lies ({location}): data would travel "
                    f"between them, for money. Take regions of {location}, or a bucket there."
                )
                raise UserError(message)


def lies_in(region: str, location: str) -> bool:
    """Whether a bucket's location serves a region; of pairs of regions (``NAM4``) nothing is known, so they do."""
    if location in AREAS:
        return region.startswith(AREAS[location]) and region not in OUTSIDE
    return "-" not in location or region.upper() == location


def check_access(clients: Clients, cloud: Cloud) -> None:
    """UserError when the project, or one of the two services in it, cannot be used."""
    owner, region = clients.target.owner, cloud.regions[0]
    clients.clusters(region, f"labels.{OWNER} = {owner}")
    clients.custom_jobs(region, f'labels.{OWNER}="{owner}"')
