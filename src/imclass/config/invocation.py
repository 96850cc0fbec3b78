"""What was typed after `imclass`, read once and handed on as one value. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imclass.config.data_word import data_overrides, dataset_of_root, is_data_word
from imclass.config.overrides import key_of
from imclass.config.schema import SETTINGS
from imclass.config.user_files import check_config_dir
from imclass.errors import UserError, did_you_mean

# The options of Hydra that commands take which compose a configuration, each under every name it has.
_PLAIN = {"--help": "--help", "-h": "--help", "--multirun": "-m", "-m": "-m", "--resolve": "--resolve"}
_VALUED = {"--config-dir": "--config-dir", "-cd": "--config-dir", "--cfg": "--cfg", "-c": "--cfg"}
_VALUED |= {"--package": "--package", "-p": "--package", "--data": "--data"}

OPTIONS = (*_PLAIN, *_VALUED)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command that composes a configuration, its options, and its overrides in Hydra's grammar.

    data: the folder or file of pictures that was typed without a key. implied: those of the overrides that
    nobody typed, as `data` or dataset.root stands for them.
    """

    command: str
    options: tuple[tuple[str, str], ...] = ()  # (name, value); an empty value for those that take none
    overrides: tuple[str, ...] = ()
    data: str = ""
    implied: tuple[str, ...] = ()

    @classmethod
    def read(cls, command: str, argv: Sequence[str]) -> "Invocation":
        """Read what was typed after the command. Raises UserError, also for a faulty file in --config-dir."""
        options: list[tuple[str, str]] = []
        overrides: list[str] = []
        data: list[str] = []
        words = iter(argv)
        for word in words:
            name, equals, value = word.partition("=")
            if not word.startswith("-"):
                (data if is_data_word(word) else overrides).append(word)
            elif word in _PLAIN:
                options.append((_PLAIN[word], ""))
            elif name in _VALUED:
                value = value if equals else next(words, "")
                if not value:
                    raise UserError(f"{name}: needs a value after it")
                if name == "--data":
                    data.append(value)
                else:
                    options.append((_VALUED[name], value))
            else:
                near = did_you_mean(name.strip("-"), SETTINGS) or "; settings are typed as key=value"
                raise UserError(f"{name}: no such option{near}")
        if len(data) > 1:
            raise UserError(f"{', '.join(data)}: two places of pictures; keep one")
        implied = tuple(data_overrides(data[0], overrides) if data else dataset_of_root(overrides))
        invocation = cls(command, tuple(options), (*implied, *overrides), "".join(data), implied)
        for folder in invocation.config_dirs:
            check_config_dir(folder)
        return invocation

    @property
    def config_dirs(self) -> tuple[Path, ...]:
        return tuple(Path(value) for name, value in self.options if name == "--config-dir")

    @property
    def keys(self) -> set[str]:
        """The settings and groups that were typed."""
        return {key_of(text) for text in self.overrides if text not in self.implied}

    @property
    def multirun(self) -> bool:
        return ("-m", "") in self.options

    @property
    def words(self) -> list[str]:
        """The arguments that repeat the command."""
        options = [f"{name}={value}" if value else name for name, value in self.options]
        typed = [text for text in self.overrides if text not in self.implied]
        return [*([self.data] if self.data else []), *options, *typed]

    def option(self, name: str) -> str | None:
        """Return the value of an option, an empty text if it takes none, None if it was not typed."""
        return dict(self.options).get(name)
