"""Run as a process of its own: the Cloud Storage of a rehearsal, with objects in memory.

``python emulator.py FILE`` writes ``http://127.0.0.1:PORT`` into FILE once it answers, and ends with its standard
input.
"""

import sys
import threading
from pathlib import Path

from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.storage import Buckets, storage_server
from ferlab.storage.files import write_text


def main(announce: Path) -> None:
    server = storage_server(Buckets(), Trouble(announce.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_text(announce, server.address)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
