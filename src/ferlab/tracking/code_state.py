"""What code made a run: git commit and diff of the checkout, the sources, installed packages, the lock; and where."""

import os
import platform
import shlex
import subprocess
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from ferlab import __version__
from ferlab.storage.files import sha256_of_text
from ferlab.tracking.machine import machine_tags

GIT_TIMEOUT_S = 20
PACKAGE = Path(__file__).resolve().parents[1]
EXACT = ("--full-index", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--relative")
"""A diff that `git apply` takes and that names the content of every file, whatever the user's git is set to."""


@dataclass(frozen=True)
class CodeState:
    """``diff`` is empty for a clean checkout; ``commit`` and ``lock`` are empty where there are none.

    ``sources``: SHA-256 over the package's Python files, also where there is no checkout. ``machine``: its tags.
    """

    commit: str
    diff: str
    packages: str
    lock: str
    sources: str = ""
    machine: dict[str, str] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        """Tags of a run."""
        return {
            "ferlab.version": __version__,
            "git.commit": self.commit or "none",
            "git.dirty": str(bool(self.diff)).lower(),
            "code.sha256": self.sources or "none",
            "lock.sha256": sha256_of_text(self.lock) if self.lock else "none",
            "python": platform.python_version(),
            **self.machine,
        }


def code_state(checkout: Path) -> CodeState:
    """The state of ``checkout`` (the folder that holds ferlab's sources), of this environment and this machine."""
    lock = checkout / "requirements.lock"
    tracked = bool(_git(checkout, "ls-files", "pyproject.toml"))
    packages = sorted({f"{item.name}=={item.version}" for item in metadata.distributions()}, key=str.lower)
    return CodeState(
        commit=_git(checkout, "rev-parse", "HEAD").strip() if tracked else "",
        diff=_diff(checkout) if tracked else "",
        packages="\n".join(packages) + "\n",
        lock=lock.read_text(encoding="utf-8") if lock.is_file() else "",
        sources=_sources(PACKAGE),
        machine=machine_tags(),
    )


def tree_of(checkout: Path, commit: str) -> dict[str, str] | None:
    """Path below ``checkout`` → git's name of the content, of all files of a commit; None when it is not there."""
    listed = _git(checkout, "ls-tree", "-r", "-z", commit) if commit else ""
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
    return {path: described.split()[2] for described, _, path in entries} or None


def commands_to(checkout: Path, commit: str, patch: Path | None, folder: Path) -> list[str]:
    """What brings the code of ``commit`` with the changes of ``patch`` into ``folder``, beside the checkout's own."""
    prefix = _git(checkout, "rev-parse", "--show-prefix").strip()
    # paths of a patch count from the top of the repository, those of --relative from the checkout
    below = [f"--directory={prefix}"] if prefix else []
    commands = [["git", "-C", str(checkout), "worktree", "add", "--detach", str(folder), commit]]
    if patch is not None:
        commands.append(["git", "-C", str(folder), "apply", *below, str(patch)])
    return [shlex.join(command) for command in [*commands, ["cd", str(folder / prefix)]]]


def _sources(package: Path) -> str:
    digest = sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _diff(checkout: Path) -> str:
    """All that differs from the commit, files that git does not track yet included; a patch for ``git apply``."""
    new = _git(checkout, "ls-files", "--others", "--exclude-standard", "-z", "--", "src", "conf", "experiments")
    added = [
        _git(checkout, "diff", "--no-index", *EXACT[:-1], "--", os.devnull, name) for name in new.split("\0") if name
    ]
    return "".join([_git(checkout, "diff", *EXACT, "HEAD"), *added])


def _git(folder: Path, *arguments: str) -> str:
    plain = ("-c", "core.quotePath=false", "-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false")
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *plain, *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    differs = arguments[0] == "diff" and done.returncode == 1
    return done.stdout.decode(errors="replace") if done.returncode == 0 or differs else ""
