"""The registry of backbones as plain data: no Keras is imported here.

To add a backbone, add one row and one file in ``conf/backbone/``; see CONTRIBUTING.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ferlab.errors import UserError


@dataclass(frozen=True)
class Backbone:
    """One row: where its builder is and what it must be fed.

    ``builder`` is ``module:function``. ``preprocessing`` names the pixel scaling of PREPROCESSINGS.
    ``smallest_px`` is the least working size. ``needs_rgb`` backbones get a gray image in three channels.
    ``application`` is the function of keras.applications that has ImageNet weights for it, if any.
    ``gains_from_bfloat16`` tells whether mixed bfloat16 trains faster on a CPU with AVX512-BF16 (measured).
    """

    name: str
    builder: str
    preprocessing: str
    smallest_px: int
    needs_rgb: bool
    application: str | None
    gains_from_bfloat16: bool
    default_recipe: str

    @property
    def pretrained(self) -> bool:
        """Whether ImageNet weights exist."""
        return self.application is not None


PREPROCESSINGS: Mapping[str, tuple[float, float]] = {"unit": (1 / 255, 0.0), "symmetric": (1 / 127.5, -1.0)}
"""Scale and offset applied to pixels in 0..255: ``unit`` gives 0..1, ``symmetric`` gives -1..1."""

CATALOG: Mapping[str, Backbone] = {
    row.name: row
    for row in (
        Backbone("seq1", "ferlab.models.sequential:seq1", "symmetric", 32, False, None, True, "scratch"),
        Backbone("seq2", "ferlab.models.sequential:seq2", "symmetric", 32, False, None, True, "scratch"),
        Backbone(
            "mobilenetv2",
            "ferlab.models.mobilenet:mobilenetv2",
            "symmetric",
            32,
            True,
            "MobileNetV2",
            False,
            "two_phase",
        ),
    )
}


def backbone(name: str) -> Backbone:
    """The row of that name; UserError listing the known ones otherwise."""
    if name not in CATALOG:
        message = f"backbone={name}: not known. Known: {', '.join(CATALOG)}."
        raise UserError(message)
    return CATALOG[name]
