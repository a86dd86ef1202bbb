"""``ferlab demo`` as a person meets it: a real process, a real browser, a picture from the disk; then a crowd."""

import base64
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face

from .conftest import Workplace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-port=0",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(workplace: Workplace) -> Iterator[tuple[str, int, Workplace]]:
    """Address and process id of a demo of a trained model, and where it runs."""
    trained = workplace.ferlab("train", "debug=fast")
    assert trained.code == 0, trained.err
    process = workplace.start("demo", f"run={trained.result['run_id']}", "port=0", "abstain_below=0.1")
    try:
        line = next((line for line in process.stdout if line.startswith("http://")), "")
        assert line, process.stderr.read()
        yield line.split()[0], process.pid, workplace
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
    finally:
        process.kill()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with two drawn faces."""
    pixels = np.full((360, 640, 3), 128, np.uint8)
    for position, side in enumerate((160, 220)):
        x = 60 + 280 * position
        pixels[60 : 60 + side, x : x + side] = draw_face(sample_face(3, position), side, "rgb")
    file = tmp_path_factory.mktemp("photos") / "..%2f<b>two.jpg"
    file.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())
    return file


class Browser:
    """A page in headless Chromium, driven over its debugging protocol."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._numbers = itertools.count(1)
        self._socket = connect(address, max_size=None)
        self.console: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one call; what the console says meanwhile is kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.console.append(json.dumps(said["params"]))

    def value(self, expression: str) -> Any:
        """What an expression is on the page."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The first value of an expression that counts as true."""
        for _ in range(150):
            found = self.value(expression)
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(expression + ": " + str(self.value("document.body.innerText")))

    def choose(self, file: Path) -> None:
        """Put a file into the page's file input, as a person does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def key(self, key: str, code: int, text: str = "") -> None:
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)


@pytest.fixture
def page(demo: tuple[str, int, Workplace], tmp_path: Path) -> Iterator[Browser]:
    """The demo's page, opened."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("websockets")
    profile = tmp_path / "profile"
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        ready = profile / "DevToolsActivePort"
        for _ in range(150):
            if ready.exists() and len(ready.read_text().splitlines()) > 1:
                break
            time.sleep(0.2)
        port = ready.read_text().splitlines()[0]
        pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30).read())
        browser = Browser(next(one for one in pages if one["type"] == "page")["webSocketDebuggerUrl"])
        for part in ("Page", "DOM", "Runtime", "Log", "Accessibility"):
            browser.send(f"{part}.enable")
        browser.send("Page.navigate", url=demo[0])
        browser.wait_for("document.readyState === 'complete' && !!document.getElementById('model').textContent")
        yield browser
        assert browser.console == []
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def test_a_chosen_picture_gets_boxes_and_bars(page: Browser, picture: Path) -> None:
    page.choose(picture)
    said = page.wait_for("document.getElementById('status').textContent.startsWith('2 faces') && "
                         "document.getElementById('status').textContent")  # fmt: skip
    assert re.fullmatch(r"2 faces\. face 1: \w+ as displayed, \d+ %; face 2: \w+ as displayed, \d+ %", said)
    assert page.value("document.querySelectorAll('#faces section').length") == 2
    rows = page.value("[...document.querySelectorAll('#faces section')].map(one => "
                      "[...one.querySelectorAll('tr')].map(row => row.innerText.trim().split(/\\s+/)))")  # fmt: skip
    for face in rows:
        assert {row[0] for row in face} == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}
        assert sum(int(row[1]) for row in face) == pytest.approx(100, abs=4)
    assert page.value("canvas.width + 'x' + canvas.height") == "640x360"
    blue = page.value("[...canvas.getContext('2d').getImageData(0, 0, 640, 360).data]"
                      ".reduce((sum, value, at, all) => sum + (at % 4 === 0 && value === 0 && all[at + 1] === 114"
                      " && all[at + 2] === 178), 0)")  # fmt: skip
    assert blue > 200, "a box in the first colour is drawn"
    shot = base64.b64decode(page.send("Page.captureScreenshot")["data"])
    assert cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR).std() > 10


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='x'</script></svg>", "not a JPEG"),
        (b"\x7fELF" + bytes(1000), "not a JPEG"),
        (b"\x89PNG" + bytes(11_000_000), "larger than 10 MB"),
    ],
)
def test_what_is_no_picture_is_said_on_the_page(page: Browser, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "renamed.png"
    file.write_bytes(content)
    page.choose(file)
    page.wait_for(f"document.getElementById('status').textContent.includes('{said}')")
    assert page.value("document.title") == "Facial expression categories"
    # a browser reports every answer that is not 200 in its console
    page.console = [line for line in page.console if "415" not in line]


def test_keyboard_and_screen_reader_get_everywhere(page: Browser) -> None:
    seen = []
    for _ in range(2):
        page.key("Tab", 9)
        seen.append(page.value("document.activeElement.id"))
    assert seen == ["file", "camera"]
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node}
    assert any(role == "button" and name.startswith("Picture (JPEG") for role, name in named), named
    assert ("button", "Start camera") in named
    assert any(role == "status" for role, _ in named)
    page.key("Enter", 13, "\r")
    page.wait_for("document.getElementById('camera').getAttribute('aria-pressed') === 'true'")
    page.wait_for("/No answer|face/.test(document.getElementById('status').textContent)")
    page.key("Enter", 13, "\r")
    page.wait_for("document.getElementById('status').textContent === 'The camera is off.'")


def test_a_thousand_at_once_are_answered_or_told_to_come_back(demo: tuple[str, int, Workplace], picture: Path) -> None:
    import psutil

    url, pid, workplace = demo
    host, data = url.removeprefix("http://"), picture.read_bytes()
    before = {path for path in workplace.home.rglob("*") if "mlflow" not in path.name}

    def ask(_: int) -> int:
        connection = http.client.HTTPConnection(host, timeout=120)
        try:
            connection.request("POST", "/predict", data, {"Content-Type": "image/jpeg"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    with ThreadPoolExecutor(1000) as crowd:
        answers = list(crowd.map(ask, range(1000)))
    assert set(answers) <= {200, 503, 0}
    assert answers.count(200) >= 32
    assert answers.count(0) <= 10, "hardly a connection is dropped without a word"
    assert psutil.Process(pid).memory_info().rss < 2e9
    health = json.loads(urllib.request.urlopen(f"{url}/health", timeout=30).read())
    assert health["status"] == "ok"
    assert ask(0) == 200
    assert {path for path in workplace.home.rglob("*") if "mlflow" not in path.name} == before, "nothing is stored"
