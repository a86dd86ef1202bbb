"""What code made a run: git commit and diff of the checkout, installed packages, the lock."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ferlab import __version__
from ferlab.storage.files import sha256_of_text

GIT_TIMEOUT_S = 20


@dataclass(frozen=True)
class CodeState:
    """``diff`` is empty for a clean checkout; ``commit`` and ``lock`` are empty where there are none."""

    commit: str
    diff: str
    packages: str
    lock: str

    def tags(self) -> dict[str, str]:
        """Tags of a run."""
        return {
            "ferlab.version": __version__,
            "git.commit": self.commit or "none",
            "git.dirty": str(bool(self.diff)).lower(),
            "lock.sha256": sha256_of_text(self.lock) if self.lock else "none",
            "python": platform.python_version(),
        }


def code_state(checkout: Path) -> CodeState:
    """The state of ``checkout`` (the folder that holds ferlab's sources) and of this environment."""
    lock = checkout / "requirements.lock"
    tracked = bool(_git(checkout, "ls-files", "pyproject.toml"))
    packages = sorted({f"{item.name}=={item.version}" for item in metadata.distributions()}, key=str.lower)
    return CodeState(
        commit=_git(checkout, "rev-parse", "HEAD") if tracked else "",
        diff=_diff(checkout) if tracked else "",
        packages="\n".join(packages) + "\n",
        lock=lock.read_text(encoding="utf-8") if lock.is_file() else "",
    )


def _diff(checkout: Path) -> str:
    """All that differs from the commit, files that git does not track yet included."""
    new = _git(checkout, "ls-files", "--others", "--exclude-standard", "--", "src", "conf", "experiments")
    added = [_git(checkout, "diff", "--no-index", "--", os.devnull, name) for name in new.splitlines()]
    return "\n".join(filter(None, [_git(checkout, "diff", "HEAD"), *added]))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    differs = arguments[0] == "diff" and done.returncode == 1
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 or differs else ""
