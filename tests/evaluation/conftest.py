"""Predictions with a known skill, and an HTML page as a test reads it."""

from html.parser import HTMLParser

import numpy as np

from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def guessed(
    run_id: str, seed: int, right: float, size: int = 300, split: str = "test", digest: str = "d" * 64
) -> Predictions:
    """Labels that are the same for every run; probabilities that lean to the truth in a share ``right`` of them."""
    labels = np.random.default_rng(99).integers(0, 7, size)
    rng = np.random.default_rng(seed)
    answer = np.where(rng.random(size) < right, labels, rng.integers(0, 7, size))
    logits = rng.normal(size=(size, 7)) + 3 * np.eye(7)[answer]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = tuple(f"id{place}" for place in range(size))
    return Predictions(ids, labels, probabilities, CLASSES, split, "fer2013", "fer2013/carved", digest, run_id)


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every opened tag is closed in order."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
