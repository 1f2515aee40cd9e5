"""Real panels: matter, unknown momentum, orientation, noise, and how many there are."""
