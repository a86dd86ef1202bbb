"""Agreement, the largest difference, and what is too far off."""

import numpy as np
import pytest

from ferlab.edge.parity import parity_of, shortfalls

TRAINED = np.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9], [0.8, 0.2]])


def test_agreement_is_the_share_of_equal_answers() -> None:
    exported = np.array([[0.55, 0.45], [0.4, 0.6], [0.2, 0.8], [0.8, 0.2]])
    found = parity_of(TRAINED, exported)
    assert (found.n, found.agreement) == (4, 0.75)  # on a tie the first class is the answer
    assert found.max_diff == pytest.approx(0.1)


def test_an_answer_that_is_no_number_never_agrees() -> None:
    exported = TRAINED.copy()
    exported[0] = np.nan
    found = parity_of(TRAINED, exported)
    assert (found.agreement, found.max_diff) == (0.75, np.inf)
    assert shortfalls(found, 0.5, 0.0, 0.01) == ["some probabilities are not numbers"]


def test_answers_must_pair_up() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3, 2\) do not pair up"):
        parity_of(TRAINED, TRAINED[:3])
    with pytest.raises(ValueError, match="do not pair up"):
        parity_of(TRAINED[:0], TRAINED[:0])


@pytest.mark.parametrize(
    ("agreement", "delta", "short"),
    [(0.97, -0.01, 0), (0.9699, 0.0, 1), (1.0, -0.0101, 1), (0.9, -0.5, 2), (1.0, 0.2, 0)],
)
def test_bounds_hold_at_their_value(agreement: float, delta: float, short: int) -> None:
    trained = np.eye(2)[np.zeros(10_000, int)]
    exported = trained.copy()
    wrong = round((1 - agreement) * 10_000)
    exported[:wrong] = exported[:wrong, ::-1]
    assert len(shortfalls(parity_of(trained, exported), 0.97, delta, 0.01)) == short
