"""Tab completion: what may come next on a command line, and the lines that teach bash, zsh and fish to ask.

Hydra completes one program with one config; ferlab has a config for each command. Nothing heavy is imported, so that
an answer takes a fraction of a second.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ferlab.config.files import ferlab_home, groups, options
from ferlab.config.launchers import CHOICES, N_JOBS, SWEEP_RESUME, TOLD
from ferlab.config.outline import REQUIRED_TEXT, Setting, settings
from ferlab.errors import UserError
from ferlab.tracking.newest import newest_runs, study_names, sweeps

FLAGS = {
    "--help": "groups, settings and examples",
    "-m": "sweep: one job for every combination of key=a,b",
    "--cfg": "show the composed config: job, hydra or all",
    "--json": "write the result to this path",
    "--yes": "ask no questions",
    "-v": "keep tracebacks",
    "--info": "how Hydra composes the config",
}
WITHOUT_COMMAND = {"--help": "this overview", "--version": "the version", "--shell-completion": "install=bash|zsh|fish"}
SHOWN_CONFIGS = {"job": "of the command", "hydra": "of Hydra", "all": "of both"}
RUN_KEYS = ("run", "runs", "resume", "teacher", "baseline", "from_run", "show", "delete", "restore")
MULTIRUN = {"-m", "--multirun"}
PREFIXES = ("++", "+", "~")
INSTALL = "install="
QUERY = "query"

BASH = """\
_ferlab() {
    local line="${COMP_LINE:0:COMP_POINT}" current="" before="" place word
    local -a typed
    read -ra typed <<< "$line"
    if [[ "$line" == *[[:space:]] ]]; then typed+=(""); fi
    current="${typed[${#typed[@]}-1]}"
    # bash puts in only what follows the last character that breaks words, such as =
    for (( place = ${#current} - 1; place >= 0; place-- )); do
        if [[ "$COMP_WORDBREAKS" == *"${current:place:1}"* ]]; then before="${current:0:place+1}"; break; fi
    done
    COMPREPLY=()
    compopt -o nosort 2> /dev/null
    while IFS=$'\\t' read -r word _; do
        COMPREPLY+=("${word#"$before"}")
    done < <(ferlab --shell-completion query "${typed[@]:1}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=./] ]]; then compopt -o nospace; fi
}
complete -F _ferlab ferlab
"""
ZSH = """\
#compdef ferlab
_ferlab() {
    local word note
    local -a whole unfinished
    while IFS=$'\\t' read -r word note; do
        if [[ "$word" == *[=./] ]]; then
            unfinished+=("${word//:/\\\\:}:$note")
        else
            whole+=("${word//:/\\\\:}:$note")
        fi
    done < <(ferlab --shell-completion query "${(@)words[2,CURRENT-1]}" "$PREFIX" 2> /dev/null)
    _describe -V ferlab whole
    _describe -V ferlab unfinished -S ''
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _ferlab ferlab
"""
FISH = """\
complete -c ferlab -f -k -a '(ferlab --shell-completion query (commandline -opc)[2..] (commandline -ct) 2> /dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def answer(asked: Sequence[str], commands: Mapping[str, str]) -> str:
    """What ``ferlab --shell-completion ASKED`` prints: the lines for a shell, or one candidate a line with a remark.

    Raises:
        UserError: neither ``install=SHELL`` of a shell that is known, nor ``query`` with words.

    """
    first = asked[0] if asked else ""
    if first == QUERY:
        words = list(asked[1:]) or [""]
        found = candidates(words[:-1], words[-1], commands)
        return "".join(f"{word}\t{remark}\n" for word, remark in found.items())
    shell = first.removeprefix(INSTALL)
    if shell not in SCRIPTS:
        message = f"--shell-completion {first}: give install=SHELL with one of {', '.join(SCRIPTS)}."
        raise UserError(message)
    return SCRIPTS[shell]


def candidates(before: Sequence[str], current: str, commands: Mapping[str, str]) -> dict[str, str]:
    """Words that may stand where ``current`` has been begun, with a remark each; ``before`` are those in front of it.

    ``before`` and ``current`` are what follows ``ferlab``.
    """
    if not before:
        return _beginning(current, dict(commands) | (WITHOUT_COMMAND if current.startswith("-") else {}))
    command, *earlier = before
    if command == "--shell-completion":
        return _beginning(current, {f"{INSTALL}{shell}": "" for shell in SCRIPTS})
    if command not in commands:
        return {}
    if earlier and earlier[-1] == "--cfg":
        return _beginning(current, SHOWN_CONFIGS)
    if earlier and earlier[-1] == "--json":
        return _paths("", current)
    if "--help" in earlier:
        nodes = dict.fromkeys(item.node for item in settings(command) if item.node)
        return _beginning(current, dict.fromkeys(nodes, "its settings"))
    if current.startswith("-"):
        return _beginning(current, FLAGS)
    return _overrides(command, earlier, current)


def _overrides(command: str, earlier: Sequence[str], current: str) -> dict[str, str]:
    prefix = next((one for one in PREFIXES if current.startswith(one)), "")
    given = dict(word.lstrip("+").partition("=")[::2] for word in earlier if "=" in word)
    chosen = {name: given.get(name, default) for name, default in groups(command).items() if options(name)}
    known = {item.key: item for item in settings(command, {name: one for name, one in chosen.items() if one})}
    key, equals, value = current.removeprefix(prefix).partition("=")
    if equals:
        listed, comma, last = value.rpartition(",")
        begun = f"{prefix}{key}={listed}{comma}"
        taken = listed.strip("[").split(",")
        found = _values(key, known.get(key), last, key in chosen)
        if found is None:
            return _paths(begun, last)
        return {f"{begun}{word}": remark for word, remark in _beginning(last, found).items() if word not in taken}
    keys = _keys(key, given, chosen, known)
    if MULTIRUN & set(earlier):
        keys |= {f"{word}=": text for word, text in TOLD.items() if word.startswith(key) and word not in given}
    return {f"{prefix}{word}": remark for word, remark in keys.items()}


def _keys(
    begun: str, given: Mapping[str, str], chosen: Mapping[str, str | None], known: Mapping[str, Setting]
) -> dict[str, str]:
    """Groups, settings and parts of the config; the settings of a part once its name and the dot are typed."""
    if "." in begun:
        return {f"{key}=": _remark(item) for key, item in known.items() if key.startswith(begun) and key not in given}
    found = {f"{name}=": f"group, {default or 'none'} by default" for name, default in chosen.items()}
    for key, item in known.items():
        found |= {f"{item.node}.": f"settings of {item.node}"} if item.node else {f"{key}=": _remark(item)}
    return {word: text for word, text in _beginning(begun, found).items() if word.rstrip("=") not in given}


def _values(key: str, setting: Setting | None, begun: str, is_group: bool) -> dict[str, str] | None:
    """Values of a setting with remarks; None where they are paths."""
    if is_group:
        return dict.fromkeys(options(key), "")
    if key in RUN_KEYS:
        bracket = "[" if begun.startswith("[") else ""
        return {f"{bracket}{run_id}": text for run_id, text in newest_runs(ferlab_home()).items()}
    if key in CHOICES:
        return CHOICES[key]
    if key == SWEEP_RESUME:
        return sweeps(ferlab_home())
    if key == "study":
        return dict.fromkeys(study_names(ferlab_home()), "")
    if setting is None:
        return {} if key == N_JOBS else None
    if setting.values:
        return dict.fromkeys(setting.values, "")
    unset = setting.default in ("null", REQUIRED_TEXT)
    if setting.kind == "text" and (unset or begun.startswith(("/", "~", "."))):
        return None
    return {} if unset else {setting.default: "default"}


def _remark(item: Setting) -> str:
    return f"{item.default}  {item.remark or '|'.join(item.values) or item.kind}"


def _beginning(begun: str, found: Mapping[str, str]) -> dict[str, str]:
    return {word: remark for word, remark in found.items() if word.startswith(begun)}


def _paths(typed: str, begun: str) -> dict[str, str]:
    """Files and folders (ending in /) whose path begins so; hidden ones only when the dot is typed."""
    head, slash, name = begun.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    return {f"{typed}{head}{slash}{entry}": "" for entry in sorted(_entries(folder)) if _fits(entry, name)}


def _fits(entry: str, begun: str) -> bool:
    return entry.startswith(begun) and (begun.startswith(".") or not entry.startswith("."))


def _entries(folder: Path) -> Iterator[str]:
    try:
        yield from (f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except OSError:
        return
