"""The command line: ``ferlab <command> [overrides]``. Imports nothing heavy; commands are loaded when asked for."""

import json
import logging
import os
import sys
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ferlab import __version__, interrupts
from ferlab.errors import UserError

COMMANDS = {
    "doctor": "what works on this machine, what is missing, how to get it",
    "verify": "which release a copy is, duplicates, leaks, label conflicts, corrupt files",
    "synth": "synthetic faces in any supported layout: layout=fer2013-csv out=DIR count=N",
    "prepare": "raw images to TFRecord shards and a manifest (at once when already there)",
    "train": "one network; prepares if needed; -m sweeps; resume=RUN goes on",
    "ensemble": "combine trained runs: runs=[ID,ID,...]",
    "evaluate": "score a run, or another tool's file, on the test split: run=ID or predictions=FILE",
    "compare": "runs side by side with tests: runs=[ID,ID,...] or study=NAME",
    "reproduce": "repeat a training from its record and compare the outcomes: run=ID",
    "register": "a run's model into MLflow's registry with its card: run=ID model=NAME",
    "export": "a run's model for other devices, proved equal: run=ID format=litert|onnx precision=int8",
    "benchmark": "latency, speed, size and memory of runs' models in every format: run=ID",
    "predict": "what a model says of faces: run=ID|model=FILE input=PHOTO|FOLDER|VIDEO|camera",
    "demo": "a page on this machine that shows it: run=ID|model=FILE",
    "pipeline": "all of it in one go: experiments=quickstart",
    "runs": "what was recorded: list, show=ID, delete=[ID], gc=true, copy_to=http://HOST:PORT",
    "cloud": "what is under way in the cloud: status, sync (bring runs home), clean (end and delete)",
    "ui": "MLflow's UI on the right store",
}
# "--run" is not among them: it is what Hydra does anyway, and how `mlflow run -P run=ID` names a run
HYDRA_FLAGS = {
    "--cfg", "--package", "--multirun", "--shell-completion", "--config-path", "--config-name",
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
CLOUD_ACTIONS = ("status", "sync", "clean")
"""``ferlab cloud sync`` is short for ``ferlab cloud action=sync``."""
UNUSABLE_IN_HOME = "?#%,*[]{}"
"""They mean something in a database address, a Spark path list or a glob."""
USER_ERROR, BUG, INTERRUPTED, TERMINATED = 2, 1, 130, 143


def main(argv: list[str] | None = None) -> NoReturn:
    """Entry point of the console script; exits with 0, 2 (user error), 1 (a bug), 130 or 143 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
    except UserError as error:
        code = _complain(error)
    except interrupts.Terminated:
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
    if arguments[0] == "--shell-completion":
        from ferlab.completion import answer

        print(answer(arguments[1:], COMMANDS), end="")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        message = f"ferlab {command}: no such command. There are: {', '.join(COMMANDS)}."
        raise UserError(message)
    if "--help" in rest or "-h" in rest:
        return _help(command, [word for word in rest if not word.startswith("-")])
    return _run_command(command, rest)


def _help(command: str, asked: list[str]) -> int:
    from ferlab.help import command_help, node_help

    texts = [text for text in (node_help(command, word) for word in asked) if text]
    print("\n\n".join(texts) or command_help(command, COMMANDS[command]))
    return 0


def _run_command(command: str, rest: list[str]) -> int:
    own = take_own_flags(rest)
    set_up_environment(own.verbose)
    interrupts.install()
    if own.yes:
        os.environ["FERLAB_YES"] = "1"
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ferlab.commands.composing import hydra_overrides
    from ferlab.config.overrides import explain
    from ferlab.storage import places
    from ferlab.storage.files import writing_errors

    home = Path(os.environ["FERLAB_HOME"])
    try:
        with writing_errors(home):
            sys.argv = [f"ferlab {command}", *own.hydra_flags, *hydra_overrides(command, own.overrides, home)]
            outcomes = import_module(f"ferlab.commands.{command}").main()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, command)) from error
    results = [outcome.result for outcome in outcomes if outcome.error is None]
    if own.json_path and results:
        sweep = {"-m", "--multirun"} & set(own.hydra_flags)
        places.write_bytes(own.json_path, json.dumps(results if sweep else results[0], indent=1).encode() + b"\n")
    codes = [_report(item.error, own.verbose) if item.error is not None else item.code for item in outcomes]
    return max(codes, default=0)


@dataclass
class Arguments:
    """What follows the command: our own flags, Hydra's flags with their values, and the overrides."""

    json_path: str | None = None
    verbose: bool = False
    yes: bool = False
    hydra_flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


def take_own_flags(arguments: list[str]) -> Arguments:
    """Sort the arguments; ``--key value`` (as ``mlflow run -P`` writes it) becomes the override ``key=value``.

    Raises:
        UserError: a flag without its value.

    """
    own = Arguments()
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name == "--json":
            place = value or _next(waiting, "--json", "a path")
            own.json_path = str(Path(place).expanduser()) if place.startswith("~") else place
        elif argument in ("-v", "--verbose"):
            own.verbose = True
        elif argument in ("-y", "--yes"):
            own.yes = True
        elif argument in FLAGS_WITH_VALUE:
            own.hydra_flags += [argument, _next(waiting, argument, "a value")]
        elif name in HYDRA_FLAGS or (argument.startswith("-") and not argument.startswith("--")):
            own.hydra_flags.append(argument)
        elif name.startswith("--"):
            own.overrides.append(f"{name[2:]}={value if equals else _next(waiting, name, 'a value')}")
        else:
            own.overrides.append(f"action={argument}" if argument in CLOUD_ACTIONS else argument)
    return own


def _next(waiting: Any, flag: str, what: str) -> str:
    try:
        return next(waiting)
    except StopIteration:
        message = f"{flag}: needs {what} after it."
        raise UserError(message) from None


def set_up_environment(verbose: bool) -> None:
    """What a command expects of its process: where it works, and that libraries talk no more than they must.

    Raises:
        UserError: a FERLAB_HOME that databases or Spark cannot be given.

    """
    from ferlab.config.files import ferlab_home

    home = str(ferlab_home())
    odd = sorted(set(home) & set(UNUSABLE_IN_HOME))
    if odd:
        message = f"FERLAB_HOME={home}: the characters {' '.join(odd)} cannot be used in it. Choose another folder."
        raise UserError(message)
    os.environ["FERLAB_HOME"] = home
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    project_run = os.environ.pop("MLFLOW_RUN_ID", None)
    if project_run:
        os.environ["FERLAB_PROJECT_RUN"] = project_run
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a damaged video is counted, not told bit by bit
        logging.getLogger("py4j").setLevel(logging.CRITICAL)


def _report(error: Exception, verbose: bool) -> int:
    from ferlab.storage.files import NO_SPACE, NO_SPACE_WORDS, no_space_error

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
            "usage: ferlab <command> [key=value ...] [-m] [--json PATH] [--yes] [-v]",
            "",
            *lines,
            "",
            "examples:",
            "  ferlab pipeline experiments=quickstart",
            "  ferlab train dataset=fer2013 dataset.root=DIR dataset.protocol=carved backbone=seq1",
            "  ferlab train --cfg job          show the composed config",
            "  ferlab <command> --help         groups, settings and examples of a command",
            '  eval "$(ferlab --shell-completion install=bash)"   tab completion (bash, zsh, fish)',
        ]
    )
