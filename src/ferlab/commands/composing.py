"""What Hydra is given to compose a command's config of, from the command line as from a notebook."""

from collections.abc import Sequence
from pathlib import Path

from ferlab.config.files import search_folders
from ferlab.config.launchers import SWEEP_RESUME
from ferlab.config.overrides import hydra_arguments, search_path, value_of

TRAIN, FROM_RUN = "train", "from_run"


def hydra_overrides(command: str, overrides: Sequence[str], home: Path) -> list[str]:
    """The overrides in Hydra's grammar, with those of the run that ``from_run`` names, and where groups are found.

    Raises:
        UserError: no such run, or overrides that do not go with it.

    """
    given = list(overrides)
    variant = command == TRAIN and value_of(FROM_RUN, given) is not None
    if variant:
        from ferlab.commands.variant import with_recorded

        given = with_recorded(given, home)
    # a sweep that goes on may have begun as variants
    recorded = variant or value_of(SWEEP_RESUME, given) is not None
    return [*hydra_arguments(given), search_path(search_folders(home, recorded))]
