"""The layout of the page: where things stand. No numbers are computed here."""
