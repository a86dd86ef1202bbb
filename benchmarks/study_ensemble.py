"""The ensemble of a study from its stored predictions: chosen and fitted on validation, then scored on the test split.

    python benchmarks/study_ensemble.py [experiments/results/fer2013_backbones]

Every method is judged out of fold on validation; the most accurate one is fitted on all of validation and applied to
the test predictions once. Prints the methods, the ensemble beside its members with the exact McNemar test against each
(Holm), and how much pairs of members disagree. Bar: it beats the member that is best on validation with p < .05. Exit
code 1 when it is missed.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ferlab.config.nodes import Combination
from ferlab.ensembling.alignment import aligned, stacked
from ferlab.ensembling.crossfit import attempt, best
from ferlab.ensembling.diversity import diversity
from ferlab.ensembling.fitting import plans
from ferlab.evaluation.comparison import Contestant, Costs, compare
from ferlab.evaluation.comparison_report import main_table
from ferlab.evaluation.metrics import score
from ferlab.evaluation.table_formats import as_markdown, percent
from ferlab.predictions import Predictions

VALIDATION, TEST = ".validation.parquet", ".publictest.parquet"
RESAMPLES, SEED, ALPHA = 2000, 0, 0.05


def members_in(folder: Path, ending: str) -> list[Predictions]:
    """Predictions of every run of the study, by name, which takes the place of its id."""
    files = sorted(folder.glob(f"*{ending}"))
    return aligned([replace(Predictions.load(file), run_id=file.name.removesuffix(ending)) for file in files])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("experiments/results/fer2013_backbones"))
    folder = parser.parse_args().folder
    members = members_in(folder, VALIDATION)
    trials = [attempt(plan, members, folds=5) for plan in plans(Combination(method="auto"))]
    print(f"{len(members)} members, validation n = {len(members[0]):,}")
    for trial in trials:
        print(f"  {trial.plan.name:<10} out of fold {100 * trial.accuracy:.2f}   NLL {trial.nll:.4f}   "
              f"where fitted {100 * trial.fit_accuracy:.2f}")  # fmt: skip
    chosen = best(trials)
    print(f"chosen: {chosen.plan.name}")
    for name, weight in chosen.combination.member_weights().items():
        print(f"  {weight:.3f} {name}")
    spread = diversity(members)
    print(f"mean disagreement of pairs {spread.disagreement[spread.disagreement > 0].mean():.3f}")

    test = members_in(folder, TEST)
    answer = replace(test[0], run_id="ensemble", probabilities=chosen.combination.apply(stacked(test)))
    runs = [Contestant(one.run_id, one.run_id, one.run_id, one, Costs()) for one in test]
    (block,) = compare(
        [*runs, Contestant("ensemble", "ensemble", "ensemble", answer, Costs())], "ensemble", RESAMPLES, SEED
    )
    print(as_markdown(main_table(block)))
    print(f"without pixel twins: {percent(score(answer.twin_free(), RESAMPLES, SEED).estimates['accuracy'])}")

    on_validation = {one.run_id: score(one, 100, SEED).estimates["accuracy"].value for one in members}
    strongest = max(on_validation, key=lambda name: on_validation[name])
    against = next(row.against for row in block.rows if row.run.id == strongest and row.against)
    held = against.differences["accuracy"].value < 0 and against.adjusted < ALPHA
    print(f"bar: better than {strongest} (best on validation), p < {ALPHA}: {'held' if held else 'MISSED'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
