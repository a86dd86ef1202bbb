"""``ferlab ui``: MLflow's own UI on the store that ferlab writes to."""

import os
import sys
from typing import Any, NoReturn

from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import UiConfig


def main() -> list[Outcome]:
    """Entry point of ``ferlab ui``."""
    return launch("ui", UiConfig, run)


def run(config: UiConfig, context: Context) -> dict[str, Any]:
    """Replace this process by MLflow's server; for a remote store, say where its UI is."""
    uri = context.store.uri
    if not uri.startswith(("http://", "https://")):
        _serve(uri, config, context)
    context.terminal.say(f"the tracking store is a server with its own UI: {uri}")
    return {"url": uri}


def _serve(uri: str, config: UiConfig, context: Context) -> NoReturn:
    context.terminal.say(f"MLflow on {uri}: http://{config.host}:{config.port}  (Ctrl-C ends it)")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    arguments = [
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        config.host,
        "--port",
        str(config.port),
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # replaces this process on purpose
