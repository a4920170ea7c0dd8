"""What happens on a click: a callback parses IDs, makes one call of the workbench and one call of a figure function."""
