"""Images by a trained network: its training, and its use in a study."""
