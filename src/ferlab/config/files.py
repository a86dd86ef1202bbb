"""Where the config files are: in a checkout, in the installed wheel, and in the user's own folder."""

import os
from pathlib import Path

import yaml

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


def ferlab_home() -> Path:
    """``FERLAB_HOME``, else ``.ferlab`` in the nearest parent folder that has one, else in this folder."""
    if os.environ.get("FERLAB_HOME"):
        return Path(os.environ["FERLAB_HOME"]).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / ".ferlab").is_dir():
            return folder / ".ferlab"
    return here / ".ferlab"
