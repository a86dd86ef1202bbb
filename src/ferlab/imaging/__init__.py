"""Decoding, colour, resizing and encoding of images: one code for preparation and for prediction."""
