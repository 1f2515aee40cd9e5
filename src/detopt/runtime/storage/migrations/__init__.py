"""Steps between the versions of the tables."""
