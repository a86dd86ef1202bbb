"""Whoever trickles, stays silent or meets a fault keeps nobody else out."""

import http.client
import json
import logging
import socket
import threading
import time

import numpy as np
import pytest

from ferlab.inference import connections, server
from ferlab.inference.predictor import Predictor
from ferlab.inference.server import Service

from .conftest import SmallModel, scene
from .serving import LIMITS, asked, is_well, png, problem, served, upload_head


def test_connections_that_say_nothing_do_not_keep_others_out(port):
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for one in idle[:25]:
        one.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: image/png\r\n\r\n"
        )
    try:
        assert is_well(port)
        assert asked(port, png(scene([])))[0] == 200
    finally:
        for one in idle:
            one.close()


def test_uploads_that_trickle_do_not_keep_others_out(port):
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * LIMITS.waiting)]
    try:
        for one in slow:
            one.sendall(upload_head(1000) + b"\x89PNG")
        for _ in range(5):
            assert asked(port, png(scene([])))[0] == 200
            for one in slow:
                one.sendall(b"x")
    finally:
        for one in slow:
            one.close()


def test_pictures_that_arrive_together_are_bounded_in_bytes(port, monkeypatch):
    monkeypatch.setattr(server, "MOST_UPLOADED", 1_000_000)
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(upload_head(1_000_000) + bytes(700_000))
        time.sleep(0.5)
        answer = asked(port, bytes(500_000))
        assert (answer[0], answer[1]["retry-after"]) == (503, "1")
        assert asked(port, png(np.zeros((20, 20, 3), np.uint8)))[0] == 200
        slow.sendall(bytes(300_000))
        assert b" 415 " in slow.recv(1000)
    assert asked(port, bytes(500_000))[0] == 415, "the bytes are given back"


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET"]
)
def test_a_connection_that_asks_for_nothing_is_closed(port, monkeypatch, sent):
    monkeypatch.setattr(connections, "LONGEST_HEAD_S", 0.4)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
        silent.sendall(sent)
        while time.monotonic() - begun < 15:
            try:
                silent.sendall(b"x" if sent else b"")
                silent.settimeout(0.1)
                if not silent.recv(10_000):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert time.monotonic() - begun < 10


def test_a_slow_upload_outlasts_the_patience_for_silence(port, monkeypatch):
    monkeypatch.setattr(connections, "LONGEST_HEAD_S", 0.2)
    data = png(scene([]))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        slow.sendall(upload_head(len(data)) + data[:100])
        time.sleep(0.6)
        slow.sendall(data[100:])
        assert b" 200 " in slow.recv(1000)


class Faulty(SmallModel):
    """A model that fails, or takes as long as it is told to."""

    def __init__(self):
        super().__init__()
        self.free = threading.Event()

    def probabilities(self, images):
        assert self.free.wait(20)
        raise RuntimeError("broken inside")


def test_a_fault_is_answered_and_leaves_a_trace_and_work_that_hangs_shows_in_health(monkeypatch, caplog):
    monkeypatch.setattr(server, "LONGEST_WAIT_S", 0.5)
    model = Faulty()
    with served(Service(Predictor(model), LIMITS)) as port:
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        assert is_well(port)
        assert asked(port, png(scene([(200, 120, 200)])))[0] == 503
        time.sleep(0.1)
        status, _, content = asked(port, None, path="/health", method="GET")
        assert (status, json.loads(content)["status"]) == (503, "stuck")
        model.free.set()
        time.sleep(0.5)
        assert is_well(port)
        answer = asked(port, png(scene([(200, 120, 200)])))
        assert answer[0] == 500
        assert "fault of this program" in problem(answer)
        assert answer[1]["cache-control"] == "no-store"
        assert is_well(port)
        logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert "RuntimeError: broken inside" in caplog.text


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_address_of_ipv6_is_served(predictor):
    with served(Service(predictor, LIMITS), "::1") as taken:
        connection = http.client.HTTPConnection("::1", taken, timeout=30)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
