"""Numbers of the pictures: layouts and curves in numpy, no drawing."""
