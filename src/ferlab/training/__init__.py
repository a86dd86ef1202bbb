"""Training: inputs, augmentation, schedules, phases, checkpoints."""
