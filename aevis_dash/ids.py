"""Every component id of the page, once."""
