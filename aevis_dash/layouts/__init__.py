"""What stands where on the page; no numbers are worked out here."""
