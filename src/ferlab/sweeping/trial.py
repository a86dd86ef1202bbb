"""One trial of a sweep's study, from the process that trains it: what it reports, and what came of it."""

from collections.abc import Sequence
from typing import Any

from ferlab.config.nodes import Sweep
from ferlab.errors import Pruned
from ferlab.sweeping.study import open_study


class StudyTrial:
    """Trial ``number`` of the study ``name`` in ``place``."""

    def __init__(self, name: str, place: str, settings: Sweep, number: int) -> None:
        from optuna.trial import Trial

        self.study: Any = open_study(name, place, settings, fresh=False)
        self.number = number
        self.trial = Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)

    def report(self, epoch: int, best: float) -> None:
        """Tell the best validation accuracy after ``epoch`` epochs; one that was told before (and resumed) keeps it.

        Raises:
            Pruned: the trial is not worth going on with.

        """
        known = self.study.get_trials(deepcopy=False)[self.number].intermediate_values
        if epoch not in known:
            self.trial.report(best, epoch)
        if self.trial.should_prune():
            message = f"best validation accuracy {100 * best:.1f} after {epoch} epochs, less than others had"
            raise Pruned(message)

    def tell(self, values: Sequence[float]) -> None:
        """The trial is complete; one value for each objective."""
        self.study.tell(self.number, list(values))

    def unfinished(self) -> bool:
        """Whether nothing was told yet."""
        return not self.study.get_trials(deepcopy=False)[self.number].state.is_finished()

    def give_up(self, failed: bool) -> None:
        """The trial has no outcome: it was pruned, or failed."""
        from optuna.trial import TrialState

        self.study.tell(self.number, state=TrialState.FAIL if failed else TrialState.PRUNED)
