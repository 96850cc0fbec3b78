"""URLs of databases and servers, as messages and files may show them. No torch here."""

import re

_USER = re.compile(r"(:/+[^:/@\s]*):[^@\s]*@(?:[^@/?\s]*@)?")
_TOKEN = re.compile(r"(\bhttps?://)[^@/?#\s]+@")  # of a server on the web, the user too may be a secret
_QUERY = re.compile(r"([?&])(?:ssl)?password=[^&\s]*&?")


def without_password(text: str) -> str:
    """Return a text, such as a command, without the password of the URL in it."""
    if ":/" not in text:
        return text
    return _QUERY.sub(r"\1", _TOKEN.sub(r"\1", _USER.sub(r"\1@", text))).rstrip("?&")
