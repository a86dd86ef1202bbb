"""A wheelhouse of one small wheel, made here: nothing is downloaded."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

CONTENTS = {
    "shipped_probe.py": "NAME = 'from the wheelhouse'\n",
    "shipped_probe-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: shipped-probe\nVersion: 1.0\n",
    "shipped_probe-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
RECORD = "shipped_probe-1.0.dist-info/RECORD"


@pytest.fixture
def probe_folder(tmp_path: Path) -> Path:
    """A folder with the wheel of ``shipped_probe``, and ``lock``, which names it with its hash."""
    folder = tmp_path / "probe"
    folder.mkdir()
    wheel = folder / "shipped_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        lines = []
        for name, text in CONTENTS.items():
            packed.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(text)}\n")
        packed.writestr(RECORD, "".join(lines) + f"{RECORD},,\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "lock").write_text(
        f"shipped-probe==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:{digest}\n"
        f"not-for-linux==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{digest}\n"
    )
    return folder
