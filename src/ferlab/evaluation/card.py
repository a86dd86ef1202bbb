"""The model card: what a model is for, what it was made of, what it scores, and what nobody has looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferlab.evaluation.document import Table
from ferlab.evaluation.metrics import INTERVALS
from ferlab.evaluation.table_formats import as_markdown

LICENCES: Mapping[str, str] = {
    "fer2013": "FER-2013 (Goodfellow et al. 2013): released without an explicit licence; photos from a web search.",
    "ferplus": "FER-2013's images with FERPlus labels (Barsoum et al. 2016); the images have no explicit licence.",
    "affectnet": "AffectNet (Mollahosseini et al. 2017): non-commercial research only, under an agreement with its "
    "authors; a model trained on it falls under the same terms.",
    "synthetic": "Drawn faces, no person's: made by ferlab, free to use. A model of them says nothing about photos.",
}
CEILINGS: Mapping[str, str] = {
    "fer2013": "Human accuracy on FER-2013 is 65 ± 5 % (Goodfellow et al. 2013); 57 groups of equal pixels carry "
    "conflicting labels.",
}
UNKNOWN_CEILING = "How well people agree on these labels: not assessed."


def family_of(dataset: str) -> str:
    """The family of a dataset's name, which its terms follow: affectnet for affectnet7 and affectnet8."""
    return dataset.rstrip("0123456789") if dataset.startswith("affectnet") else dataset


def licence_of(dataset: str) -> str:
    """The terms of a dataset in a sentence."""
    return LICENCES.get(family_of(dataset), f"{dataset}: licence not known.")


@dataclass(frozen=True)
class CardFacts:
    """What a card says of one model; ``scores`` are tables of results, each with its protocol in the caption."""

    name: str
    dataset: str
    classes: Sequence[str]
    taxonomy: str
    input: str
    scores: Sequence[Table]
    provenance: Mapping[str, str]


def model_card(facts: CardFacts) -> str:
    """The card as Markdown, in the sections of Mitchell et al. 2019."""
    parts = [
        f"# {facts.name}",
        "Predicts the **expression category as perceived by annotators** of one cropped face. "
        "It does not know, and must not be said to know, what a person feels.",
        "## Intended use",
        "Research on facial expression recognition: comparing methods, studying annotators' labels, benchmarks.",
        "## Out of scope",
        "- Inferring emotions of people at work or in education: prohibited in the European Union since 2 February "
        "2025 (AI Act, Art. 5(1)(f); medical and safety exceptions). In other places it counts as high-risk there, "
        "with a duty to inform the people concerned.\n"
        "- Decisions about a person: hiring, grading, credit, policing, health, the truth of what someone says.\n"
        "- Faces unlike those it was trained on, and crops made in another way: how far accuracy falls was not "
        "measured.",
        "## Input and output",
        f"{facts.input} in; out a probability for each of: {', '.join(facts.classes)} (taxonomy {facts.taxonomy}). "
        "Normalisation is inside the model.",
        "## Data",
        licence_of(facts.dataset),
        "## Results",
        *(as_markdown(table) for table in facts.scores),
        f"Intervals: {INTERVALS}. They do not hold what another seed would change.",
        "## Noise ceiling",
        CEILINGS.get(family_of(facts.dataset), UNKNOWN_CEILING),
        "## Subgroups",
        "Results by age, sex or skin tone: not assessed.",
        "## Provenance",
        "\n".join(f"- {name}: {value}" for name, value in facts.provenance.items()),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"
