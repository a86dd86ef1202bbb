"""Where bytes lie: files of this machine that are complete or absent, and objects in buckets (``gs://``)."""
