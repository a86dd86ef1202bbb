"""The command line: ``ferlab <command> [overrides]``. Imports nothing heavy; commands are loaded when asked for."""

import json
import logging
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ferlab import __version__
from ferlab.errors import UserError

COMMANDS = {
    "doctor": "what works on this machine, what is missing, how to get it",
    "prepare": "raw images to TFRecord shards and a manifest (at once when already there)",
    "train": "one network; prepares if needed; -m sweeps; resume=RUN goes on",
    "ensemble": "combine trained runs: runs=[ID,ID,...]",
    "evaluate": "score a run on the test split and write the report: run=ID",
    "compare": "runs side by side: runs=[ID,ID,...] or study=NAME",
    "pipeline": "all of it in one go: experiments=quickstart",
    "ui": "MLflow's UI on the right store",
}
HYDRA_FLAGS = {
    "--cfg", "--package", "--run", "--multirun", "--shell-completion", "--config-path", "--config-name",
    "--config-dir", "--experimental-rerun", "--info", "--resolve", "--hydra-help",
}  # fmt: skip
FLAGS_WITH_VALUE = {
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
}
USER_ERROR, BUG, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run like Ctrl-C does."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Entry point of the console script; exits with 0, 2 (user error), 1 (a bug), 130 or 143 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
    except UserError as error:
        code = _complain(error)
    except Terminated:
        print("terminated", file=sys.stderr)
        code = TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"ferlab {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        message = f"ferlab {command}: no such command. There are: {', '.join(COMMANDS)}."
        raise UserError(message)
    if "--help" in rest or "-h" in rest:
        from ferlab.help import command_help

        print(command_help(command, COMMANDS[command]))
        return 0
    return _run_command(command, rest)


def _run_command(command: str, rest: list[str]) -> int:
    json_path, verbose, overrides = take_own_flags(rest)
    _set_up_environment(verbose)
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ferlab.config.files import config_root
    from ferlab.config.overrides import explain, hydra_arguments

    search = f"hydra.searchpath=[file://{config_root()},file://{Path.cwd()}]"
    sys.argv = [f"ferlab {command}", *hydra_arguments(overrides), search]
    try:
        outcomes = import_module(f"ferlab.commands.{command}").main()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, command)) from error
    results = [outcome.result for outcome in outcomes if outcome.error is None]
    if json_path and results:
        _write_json(json_path, results if _is_multirun(overrides) else results[0])
    codes = [_report(outcome.error, verbose) for outcome in outcomes if outcome.error is not None]
    return max(codes, default=0)


def take_own_flags(arguments: list[str]) -> tuple[Path | None, bool, list[str]]:
    """Our own flags out of the arguments; ``--key value`` (as ``mlflow run -P`` writes it) becomes ``key=value``.

    Raises:
        UserError: a flag without its value.

    """
    json_path, verbose, rest = None, False, []
    waiting = iter(arguments)
    for argument in waiting:
        name, _, value = argument.partition("=")
        if name == "--json":
            json_path = Path(value or _next(waiting, "--json", "a path")).expanduser()
        elif argument in ("-v", "--verbose"):
            verbose = True
        elif argument in FLAGS_WITH_VALUE:
            rest += [argument, _next(waiting, argument, "a value")]
        elif name.startswith("--") and name not in HYDRA_FLAGS:
            rest.append(f"{name[2:]}={value if '=' in argument else _next(waiting, name, 'a value')}")
        else:
            rest.append(argument)
    return json_path, verbose, rest


def _next(waiting: Any, flag: str, what: str) -> str:
    try:
        return next(waiting)
    except StopIteration:
        message = f"{flag}: needs {what} after it."
        raise UserError(message) from None


def _set_up_environment(verbose: bool) -> None:
    from ferlab.config.files import ferlab_home

    os.environ["FERLAB_HOME"] = str(ferlab_home())
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    project_run = os.environ.pop("MLFLOW_RUN_ID", None)
    if project_run:
        os.environ["FERLAB_PROJECT_RUN"] = project_run
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
        logging.getLogger("py4j").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: Any) -> None:
    raise Terminated


def _is_multirun(overrides: list[str]) -> bool:
    return "-m" in overrides or "--multirun" in overrides


def _write_json(path: Path, value: Any) -> None:
    from ferlab.storage import write_text

    write_text(path, json.dumps(value, indent=1) + "\n")


def _report(error: Exception, verbose: bool) -> int:
    from ferlab.storage import NO_SPACE, NO_SPACE_WORDS, no_space_error

    full_disk = isinstance(error, OSError) and error.errno in NO_SPACE
    if full_disk or any(word in str(error) for word in NO_SPACE_WORDS):
        error = error if isinstance(error, UserError) else no_space_error(os.environ["FERLAB_HOME"])
    if isinstance(error, UserError):
        return _complain(error, verbose)
    traceback.print_exception(error)
    return BUG


def _complain(error: UserError, verbose: bool = False) -> int:
    if verbose:
        traceback.print_exception(error)
    print(f"ferlab: {error}", file=sys.stderr)
    return USER_ERROR


def _overview() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"ferlab {__version__}: facial expression recognition experiments that can be believed and repeated",
            "",
            "usage: ferlab <command> [key=value ...] [-m] [--json PATH] [-v]",
            "",
            *lines,
            "",
            "examples:",
            "  ferlab pipeline experiments=quickstart",
            "  ferlab train dataset=fer2013 dataset.root=DIR dataset.protocol=carved backbone=seq1",
            "  ferlab train --cfg job          show the composed config",
            "  ferlab <command> --help         groups, options and examples of a command",
        ]
    )
