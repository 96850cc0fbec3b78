"""URLs of databases, as messages and files may show them. No torch here."""

import re

_USER = re.compile(r"(:/+[^:/@\s]*):[^@\s]*@(?:[^@/?\s]*@)?")
_QUERY = re.compile(r"([?&])(?:ssl)?password=[^&\s]*&?")


def without_password(text: str) -> str:
    """Return a text, such as a command, without the password of the URL in it."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1@", text)).rstrip("?&") if ":/" in text else text
