"""Run as a process of its own: the Cloud Storage emulator, with lists in pages and in order as the service gives them.

``python emulator.py FILE`` writes ``http://127.0.0.1:PORT`` into FILE once it answers, and ends with its standard
input. Objects live in memory.
"""

import sys
from http.server import HTTPServer
from pathlib import Path
from typing import Any

from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.storage import Storage

LARGEST_PAGE = 1000
whole_list = objects.ls


class _Page:
    """The response of the emulator to one request, cut to the page of items that was asked for."""

    def __init__(self, query: dict[str, list[str]], response: Any) -> None:
        self.__dict__.update(_query=query, _response=response)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._response, name, value)

    def json(self, answer: dict[str, Any]) -> None:
        items = sorted(answer["items"], key=lambda item: item["name"].encode())
        start = int(self._query.get("pageToken", ["0"])[0])
        end = start + min(int(self._query.get("maxResults", [LARGEST_PAGE])[0]), LARGEST_PAGE)
        following = {"nextPageToken": str(end)} if end < len(items) else {}
        self._response.json(answer | {"items": items[start:end]} | following)


def list_page(request: Any, response: Any, storage: Storage, *args: Any, **kwargs: Any) -> None:
    whole_list(request, _Page(request.query, response), storage, *args, **kwargs)


def main(announce: Path) -> None:
    objects.ls = list_page
    # it would write all it knows about all objects after every request
    Storage._write_config_to_file = lambda self: None
    HTTPServer.request_queue_size = 256
    from gcp_storage_emulator import server  # its routes hold the handlers of this moment

    running = server.create_server("127.0.0.1", 0, in_memory=True)
    running.start()
    partial = announce.with_suffix(".partial")
    partial.write_text(f"http://127.0.0.1:{running._api._httpd.server_port}")
    partial.rename(announce)
    sys.stdin.read()
    running.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
