import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ferlab.errors import UserError
from ferlab.sweeping.space import Space, space_of


def space(*overrides: str) -> Space:
    return space_of(OverridesParser.create().parse_overrides(list(overrides)))


def test_grid_is_the_product_with_the_last_axis_fastest() -> None:
    found = space("backbone=seq1,seq2", "recipe=quick", "seed=range(3)")
    assert list(found.grid()) == [
        ("recipe=quick", f"backbone={backbone}", f"seed={seed}") for backbone in ("seq1", "seq2") for seed in range(3)
    ]


def test_no_axis_is_one_job() -> None:
    assert list(space("seed=3").grid()) == [("seed=3",)]


def test_the_last_of_two_equal_keys_counts() -> None:
    assert list(space("seed=1,2", "seed=5").grid()) == [("seed=5",)]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=choice(0.1, 0.2)", CategoricalDistribution(["0.1", "0.2"])),
        ("a=range(1, 10, 4)", IntDistribution(1, 9, step=4)),
        ("a=range(0.1, 0.5, 0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("a=interval(1, 10)", FloatDistribution(1, 10)),
        ("a=int(interval(1, 10))", IntDistribution(1, 10)),
        ("a=tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
    ],
)
def test_distributions_of_hydras_syntax(override: str, expected: object) -> None:
    (axis,) = space(override).axes
    assert axis.distribution == expected


def test_values_of_a_range_of_fractions_are_round_numbers() -> None:
    assert [one[0] for one in space("a=range(0.1, 0.5, 0.1)").grid()] == ["a=0.1", "a=0.2", "a=0.3", "a=0.4"]


def test_every_choice_and_end_occurs_in_the_samples_beside_the_first_values_of_the_others() -> None:
    found = list(space("b=1", "x=p,q,r", "y=interval(0,1)", "z=s,t").samples())
    assert found == [
        ("b=1", "x=p", "y=0.0", "z=s"),
        ("b=1", "x=q", "y=0.0", "z=s"),
        ("b=1", "x=r", "y=0.0", "z=s"),
        ("b=1", "x=p", "y=1.0", "z=s"),
        ("b=1", "x=p", "y=0.0", "z=t"),
    ]


def test_interval_in_a_grid_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match="ferlab_optuna"):
        space("a=interval(0,1)").grid()


@pytest.mark.parametrize(
    "override", ["a=interval(2,1)", "a=tag(log,interval(0,1))", "a=range(3,3)", "a=tag(log,range(1,9))"]
)
def test_spaces_without_values_are_refused(override: str) -> None:
    with pytest.raises(UserError):
        space(override)
