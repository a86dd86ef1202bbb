"""Trials of a study as jobs: each is asked for when a launcher is ready to carry it out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ferlab.commands.terminal import Terminal, duration
from ferlab.config.nodes import Sweep
from ferlab.sweeping.space import Space
from ferlab.sweeping.study import Standing, ask, interrupted_trials, overrides_of, standing


class TrialJobs(Sequence[list[str]]):
    """Overrides of the trials that were interrupted, then of new ones, until the budget is spent.

    ``minutes``: spent so far, those before an interruption, too. Its length is an upper bound. Can be gone through
    once: trials are asked for on the way.
    """

    def __init__(
        self,
        study: Any,
        space: Space,
        settings: Sweep,
        numbered: Callable[[Sequence[str], int], list[str]],
        terminal: Terminal,
        minutes: Callable[[], float],
    ) -> None:
        self.study, self.space, self.settings, self.numbered, self.terminal = study, space, settings, numbered, terminal
        self.minutes, self.interrupted, self.ended = minutes, interrupted_trials(study), standing(study).ended

    def __len__(self) -> int:
        new = self.settings.trials - standing(self.study).begun
        return max(0, new) + len(self.interrupted)

    def __getitem__(self, index: Any) -> Any:
        message = "trials are asked for one after the other"
        raise TypeError(message)

    def __iter__(self) -> Iterator[list[str]]:
        for number in self.interrupted:
            yield self._job(number)
        while standing(self.study).begun < self.settings.trials and not self._out_of_time():
            self.show()
            yield self._job(ask(self.study, self.space))

    def show(self) -> None:
        """One line with the best so far, when trials have ended since the last one."""
        now = standing(self.study)
        if now.ended > self.ended:
            self.ended = now.ended
            self.terminal.say(f"sweep: {self._words(now)}")

    def _job(self, number: int) -> list[str]:
        return self.numbered(overrides_of(self.study, number, self.space), number)

    def _out_of_time(self) -> bool:
        return self.settings.minutes is not None and self.minutes() > self.settings.minutes

    def _words(self, now: Standing) -> str:
        of = f"{now.ended} of {self.settings.trials} trials"
        beside = ", ".join(
            f"{count} {name}" for name, count in (("pruned", now.pruned), ("failed", now.failed)) if count
        )
        best = f", best {now.best:.4g} (trial {now.best_number})" if now.best is not None else ""
        front = f", {now.front} on the front" if now.front else ""
        return f"{of}{f' ({beside})' if beside else ''}{best}{front}, {duration(60 * self.minutes())} spent"
