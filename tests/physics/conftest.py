"""Hypothesis without deadlines: the first call of a table is slow, and so is a busy machine."""

from hypothesis import settings

settings.register_profile("physics", deadline=None)
settings.load_profile("physics")
