"""Tab completion as a person meets it: what is offered, and real shells that are typed into."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferlab.cli import COMMANDS
from ferlab.completion import answer, candidates
from ferlab.errors import UserError

QUICK_S = 1.0
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
TEACH = {
    "bash": 'eval "$(ferlab --shell-completion install=bash)"',
    "zsh": 'eval "$(ferlab --shell-completion install=zsh)"',
    "fish": "ferlab --shell-completion install=fish | source",
}
ANSWERS_TERMINAL_QUERY = "\x1b[0c"


def offered(line: str) -> list[str]:
    """The words for a line whose end is where the cursor stands."""
    *before, current = line.split(" ")
    return list(candidates(before, current, COMMANDS))


def test_a_command_is_completed_and_only_at_the_beginning() -> None:
    assert offered("") == list(COMMANDS)
    assert offered("tr") == ["train"]
    assert offered("nonsense ") == []
    assert "--version" in offered("-")
    assert "--version" not in offered("train -")
    assert "--yes" in offered("train --")


def test_groups_settings_and_parts_of_the_config_are_offered_once() -> None:
    words = offered("train ")
    assert {"backbone=", "dataset=", "seed=", "recipe.", "backbone."} <= set(words)
    assert "backbone=" not in offered("train backbone=seq2 ")
    assert "backbone." in offered("train backbone=seq2 ")
    assert offered("train backb") == ["backbone=", "backbone."]
    assert "recipe=" not in offered("evaluate ")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train backbone=resnet18", ["backbone=resnet18_small"]),
        ("train -m backbone=seq1,se", ["backbone=seq1,seq2"]),
        ("train recipe.loss=", ["recipe.loss=cross_entropy", "recipe.loss=focal"]),
        ("train deterministic=t", ["deterministic=true"]),
        ("train recipe.label", ["recipe.label_smoothing="]),
        ("train dataset=fer2013 dataset.protocol=", ["dataset.protocol=official"]),
        ("train ++recipe.focal", ["++recipe.focal_gamma="]),
        ("train --cfg j", ["job"]),
        ("train --help rec", ["recipe"]),
        ("--shell-completion install=z", ["install=zsh"]),
        ("pipeline experiments=quick", ["experiments=quickstart"]),
        ("train seed=", ["seed=0"]),
        ("train -m hydra", ["hydra/sweeper=", "hydra/launcher=", "hydra.launcher.n_jobs="]),
        ("train -m hydra/launcher=workers hydra", ["hydra/sweeper=", "hydra.launcher.n_jobs="]),
        ("train -m hydra.l", ["hydra.launcher.n_jobs="]),
        ("train -m hydra/sweeper=", ["hydra/sweeper=ferlab_grid", "hydra/sweeper=ferlab_optuna"]),
        ("train -m hydra/launcher=w", ["hydra/launcher=workers"]),
        ("train hydra", []),
    ],
)
def test_values_follow_from_the_files_and_the_schema(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_paths_are_completed_where_a_path_may_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "fer2013.csv").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert offered(f"train dataset.root={tmp_path}/f") == [
        f"dataset.root={tmp_path}/faces/", f"dataset.root={tmp_path}/fer2013.csv"
    ]  # fmt: skip
    assert offered("train dataset.root=~/fa") == ["dataset.root=~/faces/"]
    assert offered("train --json ~/") == ["~/faces/", "~/fer2013.csv"]
    assert offered("train --json ~/.h") == ["~/.hidden"]
    assert offered("train dataset.root=/no/such/folder/") == []
    monkeypatch.chdir(tmp_path)
    assert offered("synth out=") == ["out=faces/", "out=fer2013.csv"]


def test_runs_and_studies_come_from_the_store(home: Path) -> None:
    from ferlab.tracking.store import connect

    assert offered("evaluate run=") == [], "a store without runs"
    store = connect(home, home)
    ids = []
    for name in ("first", "second"):
        with store.run("train", "faces", name) as run:
            ids.append(run.id)
    shown = [run_id[:12] for run_id in reversed(ids)]
    assert offered("evaluate run=") == [f"run={run_id}" for run_id in shown]
    assert candidates(["evaluate"], "run=", COMMANDS)[f"run={shown[0]}"] == "second, faces, FINISHED"
    assert offered(f"ensemble runs=[{shown[0]},") == [f"runs=[{shown[0]},{shown[1]}"]
    assert "study=faces" in offered("compare study=")
    assert offered("train -m sweep.resume=") == []
    with store.run("sweep", "faces", "wide"):
        assert candidates(["train", "-m"], "sweep.resume=", COMMANDS) == {"sweep.resume=wide": "RUNNING"}


def test_a_store_that_is_a_server_or_absent_offers_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FERLAB_HOME", str(tmp_path / "nothing"))
    assert offered("evaluate run=") == []
    assert not (tmp_path / "nothing").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert offered("evaluate run=") == []


def test_a_shell_that_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="install=tcsh: give install=SHELL with one of bash, zsh, fish"):
        answer(["install=tcsh"], COMMANDS)
    with pytest.raises(UserError, match="bash, zsh, fish"):
        answer([], COMMANDS)


def test_an_answer_imports_nothing_heavy_and_is_quick(tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = ('hydra', 'tensorflow', 'keras', 'mlflow', 'pyspark', 'cv2', 'pandas')\n"
        "atexit.register(lambda: print([m for m in heavy if m in sys.modules]))\n"
        "from ferlab.cli import main\n"
        "main(['--shell-completion', 'query', 'train', 'backbone=seq'])\n"
    )
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        times.append(time.monotonic() - started)
    assert done.stdout.splitlines() == ["backbone=seq1\t", "backbone=seq2\t", "[]"]
    assert min(times) < QUICK_S


class Typist:
    """An interactive shell in a terminal of its own, in which tab completion has been installed as README says."""

    def __init__(self, shell: str, home: Path) -> None:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home), "TERM": "xterm",
            "FERLAB_HOME": str(home / "ferlab"), "PS1": "> ", "LANG": "C.UTF-8",
        }  # fmt: skip
        self.forty_two = "(math 40 + 2)" if shell == "fish" else "$((40 + 2))"
        self.seen = ""
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.execvpe(SHELLS[shell][0], SHELLS[shell], environment)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self.type(f"{TEACH[shell]}; echo taught-{self.forty_two}\n")
        self.wait_for(r"taught-42")

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait_for(self, pattern: str, limit_s: float = 40) -> re.Match[str]:
        """Read until the pattern has come; what came before it is forgotten."""
        until = time.monotonic() + limit_s
        while (found := re.search(pattern, self.seen)) is None:
            left = until - time.monotonic()
            assert left > 0, f"{pattern!r} never came: {self.seen!r}"
            if select.select([self.terminal], [], [], left)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:
                    message = f"the shell ended: {self.seen!r}"
                    raise AssertionError(message) from None
                if ANSWERS_TERMINAL_QUERY in self.seen:  # fish asks what terminal this is, and waits
                    self.type("\x1b[?62c")
                    self.seen = self.seen.replace(ANSWERS_TERMINAL_QUERY, "")
        self.seen = self.seen[found.end() :]
        return found

    def completed(self, line: str) -> str:
        """The line as it stands after a tab at its end: ``echo`` is put before it, then it is entered."""
        self.type(f"{line}\t")
        self.type(f"\x01echo LINE-{self.forty_two} \n")
        return self.wait_for(r"LINE-42 ([^\r\n]*)\r?\n")[1]

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(params=SHELLS)
def typist(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Typist]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} on this machine")
    typist = Typist(request.param, tmp_path)
    yield typist
    typist.close()


def test_a_real_shell_completes_commands_groups_options_and_paths(typist: Typist, tmp_path: Path) -> None:
    (tmp_path / "faces-of-everyone").mkdir()
    assert typist.completed("ferlab tra") == "ferlab train"
    assert typist.completed("ferlab train backbone=resn") == "ferlab train backbone=resnet"
    assert typist.completed("ferlab train backbone=vgg1") == "ferlab train backbone=vgg16"
    assert typist.completed("ferlab train seed=1 experi") == "ferlab train seed=1 experiments="
    assert typist.completed("ferlab train recipe.label_") == "ferlab train recipe.label_smoothing="
    path = f"{tmp_path}/faces"
    assert typist.completed(f"ferlab prepare dataset.root={path}") == f"ferlab prepare dataset.root={path}-of-everyone/"


def test_a_real_shell_lists_what_there_is_within_a_second(typist: Typist) -> None:
    typist.completed("ferlab tra")
    started = time.monotonic()
    typist.type("ferlab ensemble ensemble.method=\t\t")
    for method in ("auto", "mean", "geometric", "weighted", "stacking", "greedy", "vote"):
        typist.wait_for(rf"(?=[\s\S]*{method})")
    assert time.monotonic() - started < 2 * QUICK_S, "two answers, one for each tab"
