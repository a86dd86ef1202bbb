"""Where the work runs: this machine, Google Cloud, or a rehearsal of Google Cloud on this machine."""
