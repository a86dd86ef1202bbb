"""Where the config files are: in a checkout, in the installed wheel, and in the user's own folder."""

import contextlib
import os
from pathlib import Path

import yaml

from ferlab.storage.files import sha256_of_text

PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """The folder that holds ``conf/`` and ``experiments/``: inside the wheel, else the checkout."""
    packaged = PACKAGE / "_configs"
    return packaged if packaged.is_dir() else PACKAGE.parents[1]


def conf_folder() -> Path:
    """Hydra's primary config folder."""
    return config_root() / "conf"


def options(group: str) -> tuple[str, ...]:
    """Names that can be chosen for a config group, ``experiments`` included, the user's own ones last."""
    folders = [config_root() / group, Path.cwd() / group] if group == "experiments" else [conf_folder() / group]
    names = {path.stem: None for folder in folders for path in sorted(folder.glob("*.yaml"))}
    return tuple(names)


def groups(command: str) -> dict[str, str | None]:
    """Config groups of a command and their default choice, read from its primary file."""
    primary = yaml.safe_load((conf_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in primary.get("defaults", []) if isinstance(entry, dict)]
    return {name: value for entry in entries for name, value in entry.items() if not name.startswith("override")}


def search_folders(home: Path, recorded: bool = False) -> list[Path]:
    """Folders for Hydra's search path that hold ``experiments`` and nothing else: ours, and the user's own below here.

    ``recorded``: also the one that holds groups of recorded configs.

    Hydra takes any folder on its search path for a config group: a folder ``out/`` beside ``experiments/`` would turn
    ``out=DIR`` into the choice of a group. So each is a folder in ``home`` with one link.
    """
    folders = []
    for root in dict.fromkeys((config_root(), Path.cwd().resolve())):
        experiments = root / "experiments"
        if experiments.is_dir():
            folder = home / "hydra" / "search" / sha256_of_text(str(experiments))[:12]
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                (folder / "experiments").symlink_to(experiments, target_is_directory=True)
            folders.append(folder)
    return [*folders, recorded_folder(home)] if recorded and recorded_folder(home).is_dir() else folders


def recorded_folder(home: Path) -> Path:
    """Where groups of recorded configs are options: on Hydra's search path, and nothing else below it."""
    return home / "hydra" / "recorded"


def ferlab_home() -> Path:
    """``FERLAB_HOME``, else ``.ferlab`` in the nearest parent folder that has one, else in this folder."""
    if os.environ.get("FERLAB_HOME"):
        return Path(os.environ["FERLAB_HOME"]).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / ".ferlab").is_dir():
            return folder / ".ferlab"
    return here / ".ferlab"
