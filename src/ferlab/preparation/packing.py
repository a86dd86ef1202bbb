"""The code of ferlab as one file, for machines that need not have it."""

import zipfile
from pathlib import Path

import ferlab
from ferlab.config.files import config_root

SETTINGS = ("conf", "experiments", "requirements.lock")
PACKED_SETTINGS = "_configs"
"""Where an installed package has its settings, below it."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack_code(file: Path, settings: bool = False) -> Path:
    """Write the package that runs now into a zip file, equal bytes for equal code; ``settings``: conf/ as well."""
    package = Path(ferlab.__file__).parent
    members = {f"ferlab/{source.relative_to(package)}": source for source in package.rglob("*") if _is_code(source)}
    if settings:
        root = config_root()
        files = [one for name in SETTINGS for one in ([root / name] if (root / name).is_file() else _yaml(root / name))]
        members |= {f"ferlab/{PACKED_SETTINGS}/{one.relative_to(root)}": one for one in files}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, source in sorted(members.items()):
            packed.writestr(zipfile.ZipInfo(name, EPOCH), source.read_bytes(), zipfile.ZIP_DEFLATED)
    return file


def _is_code(source: Path) -> bool:
    return source.is_file() and "__pycache__" not in source.parts and PACKED_SETTINGS not in source.parts


def _yaml(folder: Path) -> list[Path]:
    return list(folder.rglob("*.yaml"))
