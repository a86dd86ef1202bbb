"""``python -m ferlab`` is the console script."""

from ferlab.cli import main

if __name__ == "__main__":  # workers of a sweep import this file again
    main()
