"""The script by which a shell completes commands and settings at TAB, and the words that it offers. No torch.

imclass completion bash|zsh|fish: eval "$(imclass completion bash)", or imclass completion fish | source
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from imclass.commands.data import VERBS
from imclass.commands.list import GROUPS
from imclass.config.groups import group_choices, group_names
from imclass.config.invocation import OPTIONS
from imclass.config.json_schema import KINDS
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS
from imclass.errors import UserError, did_you_mean

# Each calls `imclass completion query LINE`, with the line up to the cursor, and gets one word per line.
SCRIPTS = {
    "bash": """\
_imclass() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n'
    local word="${line##* }" prefix=""
    [[ $COMP_WORDBREAKS == *=* ]] && prefix="${word%"${word##*=}"}"
    COMPREPLY=($("$1" completion query "$line" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    [[ ${COMPREPLY[0]} == *[=.] ]] || compopt +o nospace 2>/dev/null
}
complete -o nospace -o default -F _imclass imclass
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_imclass() {
    local -a found=("${(@f)$("$words[1]" completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -Q -S '' -- $found || _files
}
compdef _imclass imclass
""",
    "fish": "complete -c imclass -a '(imclass completion query (commandline -cp))'\n",
}
OF_RUNS = ("resume", "model.weights")  # settings that take a run's name
HELP = """\
imclass completion bash|zsh|fish

Print the script by which the shell completes commands and settings at TAB.

  eval "$(imclass completion bash)"     in ~/.bashrc, behind the environment
  eval "$(imclass completion zsh)"      in ~/.zshrc
  imclass completion fish | source      in ~/.config/fish/config.fish
"""


def completion_command(argv: Sequence[str], commands: Collection[str]) -> None:
    """Print a shell's script, or for one the words that may follow (query LINE). Raises UserError."""
    shell = argv[0] if argv else "--help"
    if shell in ("--help", "-h"):
        print(HELP, end="")
    elif shell == "query":
        print("\n".join(completions(argv[1] if argv[1:] else "", commands)))
    elif shell in SCRIPTS:
        print(SCRIPTS[shell], end="")
    else:
        near = did_you_mean(shell, SCRIPTS)
        raise UserError(f"completion {shell}: expected one of {', '.join(SCRIPTS)}{near}")


def completions(line: str, commands: Collection[str]) -> list[str]:
    """Return what may stand in place of the last word of a command line."""
    words = line.split(" ")
    words, word = [text for text in words[:-1] if text], words[-1]
    command = words[1] if len(words) > 1 else None
    if command is None:
        found: Iterable[str] = commands
    elif command in ("train", "check", "plan", "lr-find", "sweep"):
        found = _options_and_overrides(command, word)
    elif command == "list":
        found = GROUPS
    elif command == "data":
        found = VERBS if len(words) == 2 else group_choices("dataset")
    elif command == "schema":
        found = KINDS
    elif command == "completion":
        found = SCRIPTS
    else:
        found = _runs()
    return sorted(text for text in found if text.startswith(word))


def _runs() -> tuple[str, ...]:
    return tuple(path.parent.name for path in Path("outputs").glob("*/config.yaml"))


def _options_and_overrides(command: str, word: str) -> Iterable[str]:
    if word.startswith("-"):
        return OPTIONS
    sweeps = command in ("check", "sweep")
    settings = SETTINGS | SWEEP_SETTINGS if sweeps else SETTINGS
    groups = [group for group in group_names() if group != "sweep" or sweeps]
    key, equals, value = word.partition("=")
    if not equals:
        start = key[: key.rfind(".") + 1]
        rests = [name.removeprefix(start).partition(".") for name in settings if name.startswith(start)]
        keys = {f"{start}{first}{dot or '='}" for first, dot, _ in rests}
        return keys if start else keys | {f"{group}=" for group in groups}
    if key in groups:
        choices: Iterable[str] = group_choices(key)
    elif key in settings:
        setting = settings[key]
        choices = setting.choices + (("true", "false") if bool in setting.options else ())
        choices += _runs() if key in OF_RUNS else ()
    else:
        choices = ()
    before = value.rpartition(",")[0]  # of a sweep: a,b
    return [f"{key}={before},{choice}" if before else f"{key}={choice}" for choice in choices]
