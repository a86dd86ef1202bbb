"""Stand-ins for Cloud Storage, Dataproc and Vertex AI that take the real clients' requests and carry them out here.

``service.start`` gives their addresses. Requests are read into the real clients' message types, jobs are processes of
this machine, and what a cloud does to its users (preemption, no quota, no capacity, 503) happens on demand.
"""
