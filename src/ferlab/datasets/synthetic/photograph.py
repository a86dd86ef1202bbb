"""What the camera does to a painted face: something in front, sharpness, exposure and grain."""

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Capture, Occlusion, Rgb

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as OpenCV converts to gray."""


def tone(rgb: Rgb, channels: int) -> tuple[float, ...]:
    """Give a colour as OpenCV draws it on an image of 1 or 3 channels."""
    if channels == 3:
        return rgb
    return (sum(weight * value for weight, value in zip(LUMINANCE, rgb, strict=True)),)


def backdrop(capture: Capture, size_px: int, channels: int) -> np.ndarray:
    """Paint a blurred room behind the face: uint8 (size_px, size_px, channels) or (size_px, size_px)."""
    rng = np.random.default_rng(capture.grain_seed)
    colour = np.asarray(tone(capture.background_rgb, channels))
    patches = np.clip(colour + rng.normal(0.0, 28.0, (4, 4, 1)) + rng.normal(0.0, 6.0, (4, 4, channels)), 0, 255)
    room = cv2.resize(patches.astype(np.uint8), (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(room)


def occlude(image: np.ndarray, occlusion: Occlusion) -> None:
    """Paint the patch over the image, in place."""
    size_px, channels = image.shape[0], 1 if image.ndim == 2 else 3
    centre = (occlusion.x * size_px, occlusion.y * size_px)
    sides = (2 * occlusion.half_width * size_px, 2 * occlusion.half_height * size_px)
    corners = cv2.boxPoints((centre, sides, occlusion.turn))
    cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], tone(occlusion.rgb, channels), cv2.LINE_AA)


def expose(image: np.ndarray, capture: Capture) -> np.ndarray:
    """Blur, contrast, brightness, tint and grain: uint8 of the image's shape."""
    if capture.blur * image.shape[0] > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), capture.blur * image.shape[0])
    image = cv2.LUT(image, _curve(capture, 1 if image.ndim == 2 else 3))
    if capture.noise < 0.5:
        return np.asarray(image)
    rng = np.random.default_rng([capture.grain_seed, 1])
    grain = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(capture.noise)
    grain = np.rint(grain).astype(np.int16)
    if image.ndim == 3:
        grain = cv2.merge([grain, grain, grain])
    return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U))


def _curve(capture: Capture, channels: int) -> np.ndarray:
    """Look-up table uint8 (256,) or (1, 256, 3) of contrast, brightness and tint."""
    level = 128.0 + (np.arange(256.0) - 128.0) * capture.contrast + capture.brightness
    if channels == 1:
        return np.clip(np.rint(level), 0, 255).astype(np.uint8)
    gains = 1.0 + capture.tint * np.array([0.06, 0.0, -0.08])
    return np.clip(np.rint(level[:, None] * gains), 0, 255).astype(np.uint8)[None]
