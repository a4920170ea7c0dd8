"""The drawn world: images that the project draws itself, every part known, and their network."""
