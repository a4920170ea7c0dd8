"""What happens on a click: parse ids, one workbench call, one figure call."""
