"""One file per command: a thin Hydra main over a plain function."""
