"""The Optuna study of a sweep: where it lies, how it chooses, when it gives a trial up, which trials it has."""

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ferlab.config.nodes import Sweep
from ferlab.errors import UserError
from ferlab.sweeping.space import Axis, Space

BEST_IS_LEAST = ("parameters", "mflops", "size_mb", "train_minutes")
"""Objectives of which less is better; of all others more is."""
PRUNED_AFTER = 3
"""Share of the trials that successive halving goes on with: one in so many."""


def direction_of(objective: str) -> Literal["minimize", "maximize"]:
    """``minimize`` or ``maximize``."""
    return "minimize" if objective in BEST_IS_LEAST else "maximize"


def open_study(name: str, place: str, settings: Sweep, fresh: bool) -> Any:
    """The study ``name`` in ``place`` (the path of a journal, or a database's address), made when ``fresh``.

    Raises:
        UserError: it cannot be opened, is not there, or is there already.

    """
    import optuna

    _quiet()
    known = 0
    try:
        if not fresh and not is_address(place) and not Path(place).exists():
            raise FileNotFoundError(place)
        storage = storage_of(place)
        if not fresh:
            known = len(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))
        return optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[direction_of(one) for one in settings.objectives],
            sampler=_sampler(settings, known),
            pruner=pruner_of(settings),
            load_if_exists=not fresh,
        )
    except Exception as error:  # a database speaks through exceptions of its own driver
        where = re.sub(r"://[^@/]*@", "://...@", place)  # no password in a message
        message = f"sweep {name}: its study in {where} cannot be opened ({type(error).__name__})."
        raise UserError(message) from error


def is_address(place: str) -> bool:
    """Whether it is a database's address, and no path."""
    return "://" in place


def storage_of(place: str) -> Any:
    """Optuna's storage: a journal file of this machine, or a database at an address."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if is_address(place):
        return RDBStorage(place)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))


def pruner_of(settings: Sweep) -> Any:
    """When a trial is given up, judged by the best validation accuracy so far after each of its epochs."""
    from optuna import pruners

    if settings.pruner == "median":
        return pruners.MedianPruner(settings.startup_trials, settings.startup_epochs)
    if settings.pruner == "halving":
        return pruners.SuccessiveHalvingPruner(max(1, settings.startup_epochs), PRUNED_AFTER)
    if settings.pruner == "hyperband":
        return pruners.HyperbandPruner(max(1, settings.startup_epochs), reduction_factor=PRUNED_AFTER)
    return pruners.NopPruner()


@dataclass(frozen=True)
class Standing:
    """How far a study is. ``best`` of one objective with its trial; of several, how many trials none is better than."""

    begun: int
    ended: int
    pruned: int
    failed: int
    best: float | None
    best_number: int | None
    front: int


def standing(study: Any) -> Standing:
    """Count the trials."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    several = len(study.directions) > 1
    best = study.best_trial if complete and not several else None
    return Standing(
        len(trials),
        sum(state.is_finished() for state in states),
        states.count(TrialState.PRUNED),
        states.count(TrialState.FAIL),
        best.value if best else None,
        best.number if best else None,
        len(study.best_trials) if several else 0,
    )


def interrupted_trials(study: Any) -> list[int]:
    """Numbers of the trials that were begun and have no outcome."""
    from optuna.trial import TrialState

    return [trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


def ask(study: Any, space: Space) -> int:
    """The number of a new trial, its values drawn from the space."""
    return int(study.ask({axis.name: axis.distribution for axis in space.axes}).number)


def overrides_of(study: Any, number: int, space: Space) -> tuple[str, ...]:
    """The overrides that make a trial's job; values that a kill has kept from being drawn are drawn now."""
    from optuna.trial import Trial

    kept = study.get_trials(deepcopy=False)[number]
    if len(kept.params) < len(space.axes):
        trial = Trial(study, kept._trial_id)
        for axis in space.axes:
            _draw(trial, axis)
    params = study.get_trials(deepcopy=False)[number].params
    return space.fixed + tuple(axis.override(_written(axis, params[axis.name])) for axis in space.axes)


def importances(rows: Sequence[tuple[dict[str, Any], float]], axes: Sequence[Axis]) -> dict[str, float]:
    """How much of the outcome's spread each setting explains (fANOVA, Hutter et al. 2014), largest first.

    ``rows`` are the values of finished jobs by axis name, and their outcome. Empty where there is nothing to explain:
    fewer than four jobs, one setting that varied, or equal outcomes.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    _quiet()
    varied = [axis for axis in axes if len({str(values[axis.name]) for values, _ in rows}) > 1]
    if len(rows) < 4 or len(varied) < 2 or len({outcome for _, outcome in rows}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    space = {axis.name: axis.distribution for axis in varied}
    for values, outcome in rows:
        drawn = {axis.name: _drawn(axis, values[axis.name]) for axis in varied}
        study.add_trial(optuna.create_trial(params=drawn, distributions=space, value=outcome))
    return dict(optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def _sampler(settings: Sweep, known: int) -> Any:
    """``known`` trials are there already: another seed, or a resumed sweep would draw the same values again."""
    from optuna import samplers

    seed = settings.seed + known
    if settings.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    if settings.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if settings.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, settings.trials // 4)))
    return samplers.TPESampler(seed=seed, n_startup_trials=settings.startup_trials)


def _draw(trial: Any, axis: Axis) -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    known = axis.distribution
    if isinstance(known, CategoricalDistribution):
        trial.suggest_categorical(axis.name, known.choices)
    elif isinstance(known, IntDistribution):
        trial.suggest_int(axis.name, known.low, known.high, step=known.step, log=known.log)
    elif isinstance(known, FloatDistribution):
        trial.suggest_float(axis.name, known.low, known.high, step=known.step, log=known.log)


def _written(axis: Axis, value: Any) -> str:
    """A drawn value as Hydra reads it; floats short enough to be read by people, too."""
    if axis.choices is not None or not isinstance(value, float):
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    return f"{value:.6g}"


def _drawn(axis: Axis, text: str) -> Any:
    """The other way round: what a written value was drawn as."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(axis.distribution, CategoricalDistribution):
        return text
    kind = int if isinstance(axis.distribution, IntDistribution) else float
    return min(max(kind(text), axis.distribution.low), axis.distribution.high)  # type: ignore[attr-defined]


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("optuna").setLevel(logging.ERROR)
