"""Sweeping: many jobs from one command: their search space, their study, the workers that carry them out."""
