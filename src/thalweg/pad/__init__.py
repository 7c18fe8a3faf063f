"""Planning as Descent (arXiv 2512.17846): a goal-conditioned energy over whole latent trajectories."""
