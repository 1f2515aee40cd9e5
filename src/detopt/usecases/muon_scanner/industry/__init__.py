"""Known geometries with a few unknown numbers: pipes and furnaces."""
