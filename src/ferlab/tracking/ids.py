"""Ids of copied runs and models by those of their origins."""

import re
from dataclasses import dataclass, field
from typing import Any

ORIGIN = "ferlab.copied_from"
"""Tag of a copy: the id of the run, or model, or the registered version (``NAME/2``) that it is a copy of."""
IDS = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")


@dataclass
class Ids:
    """The copies that are known so far."""

    runs: dict[str, str]
    models: dict[str, str] = field(default_factory=dict)

    def mapped(self, text: str) -> str:
        """The text with the ids of copies in place of their origins'."""
        known = self.runs | self.models
        return IDS.sub(lambda found: known.get(found[0], found[0]), text)

    def note_model(self, origin: str, target: Any) -> Any:
        """The copy of a model in the target, which is remembered; None when there is none."""
        experiments = [item.experiment_id for item in target.search_experiments()]
        found = target.search_logged_models(experiments, f"tags.`{ORIGIN}` = '{origin}'", max_results=1)
        if not found:
            return None
        self.models[origin] = found[0].model_id
        return found[0]
