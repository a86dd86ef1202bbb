"""A server in a thread, and a client that asks it."""

import contextlib
import http.client
import json
import threading
import time

import cv2

from ferlab.inference.server import HERE, Limits, _listening, configured

LIMITS = Limits(upload_bytes=2_000_000, pixels=1_000_000, waiting=8)


@contextlib.contextmanager
def served(service, host="127.0.0.1"):
    """The port of a server in a thread."""
    import uvicorn

    running = uvicorn.Server(configured(service, HERE))
    with _listening(host, 0) as listener:
        thread = threading.Thread(target=lambda: running.run(sockets=[listener]), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(10)


def asked(port, body, kind="image/png", path="/predict", method="POST", **headers):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": kind} | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def png(pixels):
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def upload_head(size):
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\nContent-Type: image/png\r\n\r\n"
    return head.encode()


def problem(answer):
    return json.loads(answer[2])["problem"]


def is_well(port):
    status, _, content = asked(port, None, path="/health", method="GET")
    return status == 200 and json.loads(content)["status"] == "ok"
