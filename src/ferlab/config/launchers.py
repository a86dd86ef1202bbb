"""What Hydra is told of a sweep beside its settings: who chooses the jobs, who carries them out."""

SWEEPER, LAUNCHER, N_JOBS = "hydra/sweeper", "hydra/launcher", "hydra.launcher.n_jobs"
SWEEP_RESUME = "sweep.resume"
CHOICES = {
    SWEEPER: {"ferlab_grid": "every combination, by default", "ferlab_optuna": "Optuna chooses, for ferlab train"},
    LAUNCHER: {
        "basic": "one job after the other, by default",
        "workers": "side by side in warm processes",
        "joblib": "side by side, of a grid, by Hydra's own",
    },
}
TOLD = {
    SWEEPER: "who chooses the jobs",
    LAUNCHER: "who carries them out",
    N_JOBS: "how many at once, with workers and joblib",
}
