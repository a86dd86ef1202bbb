"""``register``: a version with card and class names; the champion changes hands only for one that is not worse."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from ferlab.commands.register import Rule, decide, run
from ferlab.config.nodes import Compute, Intervals
from ferlab.config.schema import RegisterConfig
from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.records.load import read_samples
from ferlab.tracking.records import find_run
from ferlab.tracking.registry import champion_of


def asked(
    run_id: str, metric: str | None = None, margin: float | None = None, redeclare: bool = False
) -> RegisterConfig:
    return RegisterConfig(None, run_id, "faces", metric, margin, Intervals(500, 0), Compute("local"), redeclare)


def test_the_first_version_is_champion_and_answers_with_class_names(recorded: Any) -> None:
    import mlflow
    from mlflow.tracking import MlflowClient

    place = recorded("register")
    run_id = place.train("a", 0)
    result = run(asked(run_id), place.context)
    assert (result["version"], result["crowned"]) == ("1", True)
    assert champion_of("faces") == ("1", run_id)
    served = mlflow.pyfunc.load_model("models:/faces@champion")
    images = np.stack(
        [one.pixels for one in read_samples(place.prepared.folder, place.prepared.manifest, "validation")]
    )
    table = served.predict(images)
    stored = Predictions.load(find_run(run_id).artifact("predictions/validation.parquet"))
    assert list(table.columns) == ["label", *stored.classes]
    np.testing.assert_allclose(table[list(stored.classes)], stored.probabilities, atol=1e-5)
    assert table.label.tolist() == [stored.classes[place] for place in stored.predicted]
    version = MlflowClient().get_model_version("faces", "1")
    card = find_run(result["run_id"]).artifact("model_card.md").read_text()
    assert version.description == card
    for said in ("perceived by annotators", "Art. 5(1)(f)", "not assessed", "synthetic/carved", run_id):
        assert said in card
    accuracy = 100 * (stored.predicted == stored.labels).mean()
    assert f"| Accuracy | {accuracy:.1f} " in card
    assert f"| MCC | {matthews_corrcoef(stored.labels, stored.predicted):.3f} " in card


def test_what_decides_is_declared_with_the_first_version(recorded: Any) -> None:
    from mlflow.tracking import MlflowClient

    place, client = recorded("register"), MlflowClient
    first, second = place.train("a", 0), place.train("b", 1)
    made = run(asked(first, metric="macro_f1", margin=0.5), place.context)
    assert (made["metric"], made["margin"]) == ("macro_f1", 0.5)
    for other in (asked(second, metric="accuracy"), asked(second, margin=1.0)):
        with pytest.raises(UserError, match=r"chosen by macro_f1 with a margin of 0\.5.*redeclare=true") as refusal:
            run(other, place.context)
        assert "\n" not in str(refusal.value)
    assert len(client().search_model_versions("name='faces'")) == 1, "nothing was registered"
    again = run(asked(second), place.context)
    assert (again["metric"], again["margin"], again["crowned"]) == ("macro_f1", 0.5, True)
    assert "points of macro_f1" in again["reason"]

    changed = run(asked(first, margin=0.0, redeclare=True), place.context)
    assert (changed["metric"], changed["margin"]) == ("macro_f1", 0.0)
    said = "macro_f1 with a margin of 0.5 -> macro_f1 with a margin of 0"
    assert find_run(changed["run_id"]).tags["ferlab.redeclared"] == said
    assert client().get_model_version("faces", "3").tags["ferlab.redeclared"] == said
    assert said in place.printed.getvalue()
    assert run(asked(second), place.context)["margin"] == 0.0


def leaning(predictions: Predictions, right: float, seed: int) -> Predictions:
    """The same samples answered rightly in a share ``right`` of them."""
    rng = np.random.default_rng(seed)
    answer = np.where(rng.random(len(predictions)) < right, predictions.labels, (predictions.labels + 1) % 7)
    return replace(predictions, probabilities=np.eye(7)[answer])


@pytest.fixture
def reign(recorded: Any) -> Any:
    """A champion that is right in 60 % of 2,000 samples, and how a candidate fares against it."""
    place = recorded("register")
    run_id = place.train("a", 0)
    labels = np.random.default_rng(0).integers(0, 7, 2000)
    classes = place.prepared.manifest.classes
    ids = tuple(map(str, range(2000)))
    base = Predictions(ids, labels, np.eye(7)[labels], classes, "validation", "t", "p/carved", "d" * 64, run_id)
    leaning(base, 0.6, 1).save(find_run(run_id).artifact("predictions/validation.parquet"))

    def fares(candidate: Predictions, margin: float = 0.01) -> Any:
        return decide(Rule("accuracy", margin), Intervals(500, 0), candidate, ("1", run_id))

    return base, fares


def test_a_better_candidate_takes_over_and_a_worse_one_does_not(reign: Any) -> None:
    base, fares = reign
    better, worse = fares(leaning(base, 0.7, 2)), fares(leaning(base, 0.5, 3))
    assert better.crowned
    assert better.difference.low > 0
    assert not worse.crowned
    assert "may be worse" in worse.reason


def test_an_equal_candidate_needs_a_margin_as_wide_as_the_doubt(reign: Any) -> None:
    base, fares = reign
    equal = leaning(base, 0.6, 4)
    assert not fares(equal, margin=0).crowned
    assert fares(equal, margin=0.1).crowned


@pytest.mark.parametrize(
    "change",
    [{"protocol": "q/official"}, {"dataset_digest": "e" * 64}, {"ids": tuple(f"x{place}" for place in range(2000))}],
    ids=["protocol", "digest", "samples"],
)
def test_what_cannot_be_ranked_never_takes_over(reign: Any, change: dict[str, Any]) -> None:
    base, fares = reign
    decision = fares(replace(leaning(base, 0.99, 5), **change), margin=1)
    assert not decision.crowned
    assert "not ranked" in decision.reason


def test_a_champion_that_is_gone_stays(reign: Any) -> None:
    base, _ = reign
    assert not decide(Rule(), Intervals(500, 0), base, ("1", "f" * 32)).crowned


def test_versions_without_a_champion_are_left_to_a_person(recorded: Any) -> None:
    from mlflow.tracking import MlflowClient

    place = recorded("register")
    run_id = place.train("a", 0)
    run(asked(run_id), place.context)
    MlflowClient().delete_registered_model_alias("faces", "champion")
    assert champion_of("faces") == ("", "")
    assert not run(asked(run_id), place.context)["crowned"]
    assert champion_of("no such model") is None


def test_a_run_without_a_model_is_refused(recorded: Any) -> None:
    place = recorded("register")
    with place.context.store.run("compare", "study", "c") as other:
        pass
    with pytest.raises(UserError, match="is compare"):
        run(asked(other.id), place.context)
