"""Whose quota requests count for."""

import google.auth
import pytest
from google.oauth2.credentials import Credentials

from ferlab.compute.preflight import credentials_and_project


@pytest.mark.parametrize(
    ("own", "wanted", "counted"), [("a", "b", "b"), ("a", None, "of-the-credentials"), (None, "b", None)]
)
def test_requests_of_a_person_count_for_the_project_that_they_go_to(monkeypatch, own, wanted, counted):
    found = Credentials("token", quota_project_id=own)
    monkeypatch.setattr(google.auth, "default", lambda scopes: (found, "of-the-credentials"))
    credentials, project = credentials_and_project(wanted)
    assert project == (wanted or "of-the-credentials")
    assert credentials.quota_project_id == counted
