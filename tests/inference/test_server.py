"""The page and its endpoint behind a real server: pictures are answered, all else is refused, nothing falls over."""

import base64
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ferlab.commands.demo import ANY, allowed_hosts
from ferlab.errors import UserError
from ferlab.inference.predictor import Predictor
from ferlab.inference.server import HERE, Service, serve

from .conftest import SmallModel, scene
from .serving import LIMITS, asked, is_well, png, problem


def test_a_picture_is_answered_as_by_the_api(port, predictor):
    data = png(scene([(20, 20, 150), (300, 200, 180)]))
    status, headers, content = asked(port, data)
    expected = predictor.bytes(data).as_json(predictor.classes, 0.3)
    expected.pop("source")
    assert status == 200
    assert json.loads(content) == expected
    assert len(expected["faces"]) == 2
    assert headers["cache-control"] == "no-store"


def test_a_picture_without_a_face_is_said(port):
    status, _, content = asked(port, png(scene([])))
    assert (status, json.loads(content)["problem"], json.loads(content)["faces"]) == (200, "no face found", [])


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "image/png", 400),
        (b"\x7fELF" + bytes(5000), "image/png", 415),
        (b"MZ" + bytes(5000), "image/jpeg", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "image/png", 415),
        (b"<svg onload='alert(1)'/>", "image/svg+xml", 415),
        (b"GIF89a" + bytes(100), "image/gif", 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "image/png", 415),
        (b"\xff\xd8\xff\xe0" + bytes(50), "image/jpeg", 415),
        (b"BM" + bytes(60), "image/bmp", 415),
        (b"II*\0" + b"\xff" * 60, "image/tiff", 415),
        (b"a=1&b=2", "application/x-www-form-urlencoded", 415),
        (b"--x\r\nContent-Disposition: form-data; filename=../../x\r\n\r\n1\r\n--x--", "multipart/form-data", 415),
        (b"{}", "text/plain", 415),
    ],
)
def test_what_is_no_picture_is_refused(port, body, kind, status):
    answer = asked(port, body, kind)
    assert answer[0] == status
    assert problem(answer)
    assert is_well(port)


def test_a_cut_picture_says_so(port):
    data = png(scene([(200, 120, 200)]))
    assert json.loads(asked(port, data[: len(data) // 2])[2])["problem"] == "cut PNG file"


@pytest.mark.parametrize("side", [1_001, 60_000])
def test_a_picture_bomb_is_refused_before_it_is_decoded(port, side):
    bomb = bytearray(png(np.zeros((1, 1, 3), np.uint8)))
    bomb[16:24] = side.to_bytes(4, "big") * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    answer = asked(port, bytes(bomb))
    assert answer[0] in (413, 415)
    assert is_well(port)


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_of_100_mb_is_refused_while_it_comes(port, declared):
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        size = "Content-Length: 100000000" if declared else "Transfer-Encoding: chunked"
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{size}\r\n\r\n"
        connection.sendall(head.encode())
        piece = bytes(100_000)
        try:
            while sent < 100_000_000:
                connection.sendall(piece if declared else b"186a0\r\n" + piece + b"\r\n")
                sent += len(piece)
        except OSError:
            pass
        connection.settimeout(5)
        try:
            answer = connection.recv(1000)
        except OSError:
            answer = b""
    assert not answer or b" 413 " in answer
    assert sent < 100_000_000 or b" 413 " in answer
    assert is_well(port)


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page.html", "/static/x", "//etc"])
def test_no_path_leads_to_a_file(port, path):
    assert asked(port, None, path=path, method="GET")[0] == 404


def test_another_sites_name_for_this_machine_is_refused(port):
    assert asked(port, png(scene([])), Host="evil.example")[0] == 400
    assert asked(port, None, path="/", method="GET", Host="evil.example:80")[0] == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused_and_no_other_site_is_let_in(port, method):
    status, headers, _ = asked(port, None, method=method, Origin="http://evil.example")
    assert status == 405
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_foreign_script(port):
    status, headers, content = asked(port, None, path="/", method="GET")
    page, policy = content.decode(), headers["content-security-policy"]
    assert status == 200
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert len(re.findall(f'nonce="{re.escape(nonce)}"', page)) == 2
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    other = asked(port, None, path="/", method="GET")[1]["content-security-policy"]
    assert other != policy
    assert "perceive in a displayed expression" in page
    assert "must not be used to decide anything about people" in page


def test_a_models_name_cannot_bring_a_script():
    model = SmallModel()
    object.__setattr__(model.description, "name", "</script><script>alert(1)</script>")
    from ferlab.inference.server import _page

    page = _page(Service(Predictor(model), LIMITS))
    assert page.count("<script") == 1
    assert page.count("</script>") == 1


def test_more_requests_than_can_wait_are_told_to_come_back_and_all_are_answered(port):
    data = png(scene([(200, 120, 200)]))
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: asked(port, data)[0], range(200)))
    assert set(answers) <= {200, 503}
    assert answers.count(200) >= LIMITS.waiting
    assert is_well(port)
    assert asked(port, data)[0] == 200


def test_nonsense_on_the_line_is_survived(port):
    rng = np.random.default_rng(0)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(rng.bytes(5000))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + base64.b64encode(rng.bytes(200_000)) + b"\r\n")
    assert is_well(port)


def test_a_port_that_is_taken_is_said(port, predictor):
    with pytest.raises(UserError, match=f"port={port}: cannot be listened on"):
        serve(Service(predictor, LIMITS), "127.0.0.1", port, HERE, lambda taken: None)


def test_names_that_a_browser_may_use():
    assert allowed_hosts("127.0.0.1", []) == list(HERE)
    assert allowed_hosts("0.0.0.0", []) == [ANY]
    assert allowed_hosts("0.0.0.0", ["lab.example"]) == [*HERE, "0.0.0.0", "lab.example"]
    assert allowed_hosts("10.0.0.7", []) == [*HERE, "10.0.0.7"]
    assert allowed_hosts("::1", []) == list(HERE)
    assert allowed_hosts("fd00::7", []) == [*HERE, "[fd00::7]"]
    assert allowed_hosts("::", []) == [ANY]
