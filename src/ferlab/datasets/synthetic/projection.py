"""From face units to the picture: head pose, and the 68 landmarks of the projected face."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ferlab.datasets.synthetic.anatomy import Face, Pose
from ferlab.datasets.synthetic.curves import Points
from ferlab.datasets.synthetic.features import feature_outlines
from ferlab.datasets.synthetic.head import head_outlines

UNIT_SHARE = 0.425
"""Length of one face unit as a share of the picture, at scale 1."""

FLAT = ("neck", "neck_shadow", "shoulders", "back_hair")
"""Parts in the plane of the head's axis: turning the head does not shift them."""

RAISED = {
    "nose_base": 0.20,
    "nose_tip": 0.26,
    "nose_ridge": 0.14,
    "left_nostril": 0.19,
    "right_nostril": 0.19,
    "left_nose_flank": 0.06,
    "right_nose_flank": 0.06,
    "left_glass": 0.10,
    "right_glass": 0.10,
    "bridge": 0.12,
    "left_iris": -0.03,
    "right_iris": -0.03,
}
"""Parts that stand off the rounded head, in face units towards the viewer."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """All outlines of one face: ``points`` (n, 2) as shares of the picture, ``spans`` name to rows."""

    points: Points
    spans: Mapping[str, slice]

    def __contains__(self, name: str) -> bool:
        return name in self.spans

    def part(self, name: str) -> Points:
        """Points (m, 2) of one outline, as shares of the picture."""
        return self.points[self.spans[name]]


@lru_cache(maxsize=4)  # a face is drawn and measured one after the other
def project(face: Face) -> Outlines:
    """Every outline of the face as it appears in the picture. Do not write into it."""
    shapes = head_outlines(face) | feature_outlines(face)
    ends = np.cumsum([len(shape) for shape in shapes.values()]).tolist()
    spans = {name: slice(end - len(shapes[name]), end) for name, end in zip(shapes, ends, strict=True)}
    points = np.concatenate(list(shapes.values()))
    depth = _depth(points)
    for name in RAISED.keys() & spans.keys():
        depth[spans[name]] += RAISED[name]
    for name in FLAT:
        if name in spans:
            depth[spans[name]] = 0.0
    return Outlines(_posed(points, depth, face.pose), spans)


def _depth(points: Points) -> np.ndarray:
    """How far the skin bulges towards the viewer, in face units: half an ellipsoid."""
    inside = 1.0 - (points[:, 0] / 0.80) ** 2 - (points[:, 1] / 1.25) ** 2
    return 0.7 * np.sqrt(np.clip(inside, 0.02, None))


def _posed(points: Points, depth: np.ndarray, pose: Pose) -> Points:
    """Orthographic projection after yaw, pitch and roll: shares of the picture."""
    yaw, pitch, roll = np.deg2rad([pose.yaw, pose.pitch, pose.roll])
    x = points[:, 0] * np.cos(yaw) + depth * np.sin(yaw)
    z = depth * np.cos(yaw) - points[:, 0] * np.sin(yaw)
    y = points[:, 1] * np.cos(pitch) - z * np.sin(pitch)
    turned = np.array((x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll))).T
    return np.asarray(turned * (UNIT_SHARE * pose.scale) + (0.5 + pose.shift_x, 0.51 + pose.shift_y))


def landmarks(face: Face, size_px: int) -> np.ndarray:
    """Find the 68 points (x, y) in pixels, float64 (68, 2), ordered as in 300-W (Sagonas et al. 2016)."""
    outlines = project(face)
    part = outlines.part
    bridge_top, bridge_tip = part("nose_ridge")[:2].mean(axis=0), part("nose_ridge")[2:].mean(axis=0)
    points = [
        part("head")[np.linspace(48, 12, 17).round().astype(int)],
        part("left_brow_line")[::-3],
        part("right_brow_line")[::3],
        bridge_top + (bridge_tip - bridge_top) * np.linspace(0, 1, 4)[:, None],
        part("nose_base")[6:19:3],
        part("left_upper_lid")[[0, 5, 9, 14]],
        part("left_lower_lid")[[9, 5]],
        part("right_upper_lid")[[0, 5, 9, 14]],
        part("right_lower_lid")[[9, 5]],
        part("lip_line")[:1],
        part("outer_top")[[2, 5, 7, 9, 12]],
        part("lip_line")[-1:],
        part("outer_bottom")[[12, 9, 7, 5, 2]],
        part("inner_top")[[1, 4, 7, 10, 13]],
        part("inner_bottom")[[10, 7, 4]],
    ]
    return np.concatenate(points) * size_px - 0.5
