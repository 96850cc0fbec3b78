"""From what is typed to one checked Config; no torch in here."""
