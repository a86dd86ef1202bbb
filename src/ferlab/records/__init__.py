"""TFRecord files without TensorFlow: writing and reading."""
