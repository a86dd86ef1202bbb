"""Which known release is this copy, exactly or nearly? Signatures of releases, and the comparison with one."""
