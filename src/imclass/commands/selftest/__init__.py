"""imclass selftest: stop, damage and resume runs on this machine, and count what was lost."""
