"""``python -m ferlab`` is the console script."""

from ferlab.cli import main

main()
