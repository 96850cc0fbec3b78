"""The one reader of YAML: plain data come out, whoever wrote the file. No torch here."""

import io
import stat
from pathlib import Path
from typing import Any

import yaml

from imclass.errors import UserError, first_line

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_ENTRIES = 2_000  # keys and values; each costs Hydra half a millisecond
MAX_LENGTH = 2_000  # characters of one of them


def read_yaml(file: Path, *, most: int = MAX_ENTRIES) -> Any:
    """Return the content of a YAML file as plain data; interpolations stay text.

    Raises UserError, in one line, for anything but a text file of at most 1 MB without tags, anchors and
    aliases (these could call code, or blow up to gigabytes), and with no more in it than settings need.
    most: keys and values.
    """
    return parse_yaml(read_text(file), str(file), most=most)


def read_text(file: Path) -> str:
    """Return the text of a file of settings. Raises UserError as `read_yaml` does."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait forever
            raise UserError(f"{file}: not a regular file")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{file}: larger than 1 MB, which no file of settings is")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file (UTF-8)") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from error


def parse_yaml(text: str, source: str, *, most: int = MAX_ENTRIES) -> Any:
    """Return what `read_yaml` does, for YAML that came from `source`: a file, or part of one."""
    from omegaconf import OmegaConf

    if len(text) > MAX_BYTES:
        raise UserError(f"{source}: more than 1 MB of settings")
    try:
        _check_events(text, most)
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{source}: cannot be read as YAML settings ({error.problem}{where})") from error
    except Exception as error:  # OmegaConf's and the parser's exceptions have no common class
        raise UserError(f"{source}: cannot be read as YAML settings ({first_line(error)})") from error


def _check_events(text: str, most: int) -> None:
    """Raise ValueError unless `text` is plain YAML: nothing of it is built yet."""
    depth = entries = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"an anchor or alias in line {line}; write the value out")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"the tag {event.tag} in line {line}; settings need none")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels in line {line}")
        entries += isinstance(event, yaml.NodeEvent)
        if entries > most:
            raise ValueError(f"more than {most:,} keys and values in line {line}")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_LENGTH:
            raise ValueError(f"a key or value of {len(event.value):,} characters in line {line}")
