"""Preparation: from raw images to TFRecord shards and a manifest, with Spark."""
