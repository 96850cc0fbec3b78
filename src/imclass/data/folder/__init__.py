"""People's own pictures: a folder of class folders."""
