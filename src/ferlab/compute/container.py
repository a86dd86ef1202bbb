"""The first process in the container of a training: it fetches the code that was shipped and hands over to it.

    python -m ferlab.compute.container gs://BUCKET/runs/JOB

The container brings Python and the packages; the code comes with the job, so an image serves many commits.
"""

import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NoReturn

from ferlab.storage import places
from ferlab.storage.places import joined

ORDER = "order.json"
"""In the folder of a training: what is to be done."""
MODULE = "ferlab.remote"


def main(folder: str) -> NoReturn:
    """Become the process that trains."""
    order = json.loads(places.read_bytes(joined(folder, ORDER)))
    code = Path(tempfile.mkdtemp(prefix="ferlab-code-"))
    places.fetch(order["code"], code / "code.zip")
    with zipfile.ZipFile(code / "code.zip") as packed:
        packed.extractall(code)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(code), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    os.execv(sys.executable, [sys.executable, "-m", MODULE, folder])


if __name__ == "__main__":
    main(sys.argv[1])
