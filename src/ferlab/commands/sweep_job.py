"""One job of a sweep: what it is told, the run it writes, what it tells the study, and how it is gone on with."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ferlab.commands.launch import JOB_VARIABLE, SWEEP_VARIABLE, Context
from ferlab.commands.training_record import stored_result
from ferlab.config.nodes import Sweep
from ferlab.config.overrides import told_apart
from ferlab.errors import Pruned, UserError
from ferlab.sweeping.children import FAILED, FINISHED, INTERRUPTED, Child, children_of, objective_of, tags_of
from ferlab.sweeping.trial import StudyTrial
from ferlab.tracking.housekeeping import delete
from ferlab.tracking.records import find_run
from ferlab.tracking.store import PRUNED, Within

TRAIN, PROFILE = "train", "profile"
"""The command whose runs can be gone on with; the stage of one that looks at the time instead."""


@dataclass(frozen=True)
class Shared:
    """What all jobs of a sweep know: its run, its settings, what varies, and the place of its study, if it has one.

    ``varied``: the values of everything that varies; none of an interval.
    """

    parent: str
    name: str
    settings: Sweep
    varied: dict[str, list[str]]
    study_place: str | None
    resumed: bool

    def as_text(self) -> str:
        """For an environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Shared":
        """The inverse of ``as_text``."""
        kept = json.loads(text)
        return cls(**kept | {"settings": Sweep(**kept["settings"])})


@dataclass
class SweepJob:
    """Job ``number`` of a sweep. ``values`` of what varies, as given; ``overrides`` are those settings alone."""

    shared: Shared
    number: int
    values: dict[str, str]
    overrides: list[str]
    trial: StudyTrial | None = field(default=None)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SweepJob":
        """The job of this process now, which is within a sweep."""
        shared = Shared.from_text(environment[SWEEP_VARIABLE])
        given = [(text, *text.lstrip("+").partition("=")[::2]) for text in HydraConfig.get().overrides.task]
        varied = {key: (text, value) for text, key, value in given if key in shared.varied}
        values = {key: value for key, (_, value) in varied.items()}
        return cls(shared, int(environment[JOB_VARIABLE]), values, [text for text, _ in varied.values()])

    def carry_out(
        self, work: Callable[[Any, Context], dict[str, Any]], config: Any, context: Context
    ) -> dict[str, Any]:
        """The result of ``work``; of a trial with several seeds their results under ``repetitions``."""
        self.trial = self._open_trial()
        results: list[dict[str, Any]] = []
        try:
            for repetition in range(self.shared.settings.seeds if self.trial else 1):
                results.append(self._repeat(repetition, work, config, context))
        except Pruned as reason:
            assert self.trial is not None
            self.trial.give_up(failed=False)
            context.terminal.say(f"{self._name(0)}: pruned, {reason}")
            found = next(child.run_id for child in self._children() if child.repetition == 0)
            return {"run_id": found, "job": self.number, "pruned": True}
        if self.trial:
            self.trial.tell([_mean(results, objective) for objective in self.shared.settings.objectives])
        own = results[0] if len(results) == 1 else {"repetitions": results}
        return own | {"job": self.number}

    def fail(self, error: Exception, context: Context, study: str) -> None:
        """Record a failure: the trial has no outcome, and a run says so also where none was begun."""
        with contextlib.suppress(UserError):
            trial = self.trial or self._open_trial()
            if trial and trial.unfinished():
                trial.give_up(failed=True)
        if not any(child.status == FAILED for child in self._children()):
            self._enter(context, 0)
            with contextlib.suppress(type(error)), context.store.run(context.command, study, self._name(0)):
                raise error

    def _repeat(
        self, repetition: int, work: Callable[[Any, Context], dict[str, Any]], config: Any, context: Context
    ) -> dict[str, Any]:
        if self.trial:
            config = replace(config, seed=config.seed + repetition)
            context.raw = {**context.raw, "seed": config.seed}
            judged = repetition == 0 and self.shared.settings.pruner != "none"
            context.on_epoch = self.trial.report if judged else _go_on
        self._enter(context, repetition)
        earlier = self._earlier(repetition)
        if earlier and earlier.status == FINISHED:
            return stored_result(find_run(earlier.run_id))
        if earlier and earlier.status == PRUNED:
            raise Pruned(earlier.reason)
        if earlier and earlier.status == INTERRUPTED and context.command == TRAIN:
            if find_run(earlier.run_id).has_config():
                config = replace(config, resume=earlier.run_id)
            else:  # killed before anything was written
                delete(find_run(earlier.run_id))
        return work(config, context)

    def _enter(self, context: Context, repetition: int) -> None:
        tags = tags_of(self.shared.parent, self.number, repetition, self.values)
        context.store.within = Within(self.shared.parent, (context.command, PROFILE), self._name(repetition), tags)

    def _name(self, repetition: int) -> str:
        """What varied, such as ``seq1-s0``; of a trial with its number before."""
        parts = [told_apart(text, self.shared.varied) for text in self.overrides]
        if self.shared.study_place:
            parts = [f"t{self.number:02d}", *parts]
            if self.shared.settings.seeds > 1:
                parts.append(f"r{repetition}")
        return "-".join(parts) or f"job{self.number}"

    def _earlier(self, repetition: int) -> Child | None:
        if not self.shared.resumed:
            return None
        found = [child for child in self._children() if child.repetition == repetition]
        return found[-1] if found else None

    def _children(self) -> list[Child]:
        return [child for child in children_of(self.shared.parent) if child.number == self.number]

    def _open_trial(self) -> StudyTrial | None:
        shared = self.shared
        if shared.study_place is None:
            return None
        return StudyTrial(shared.name, shared.study_place, shared.settings, self.number)


def _go_on(epoch: int, best: float) -> None:
    """Later repetitions are trained to the end: the first one has not been pruned."""


def _mean(results: list[dict[str, Any]], objective: str) -> float:
    values = [objective_of(find_run(result["run_id"]).metrics, objective) for result in results]
    if any(math.isnan(value) for value in values):
        message = f"sweep.objectives: {objective} was not measured by run {results[0]['run_id']}."
        raise UserError(message)
    return sum(values) / len(values)
