"""What a run was made with against what is here now: code, packages, machine, data, settings. Pure; reads nothing."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SOURCES = "src/"
"""Files below it change what a training computes; its settings are recorded as composed, so ``conf/`` does not."""
RESUMED = "resumed"
"""Before the tags, and below the folder, of the code that went on with an interrupted run."""
HASH = re.compile(r"[0-9a-f]{40,64}")
UNKNOWN = "not recorded"
ABSENT = "0" * 7


@dataclass(frozen=True)
class Fact:
    """A tag that is compared: what it is called, and whether what a training computes depends on it."""

    name: str
    tag: str
    matters: bool = True


CODE = "code.sha256"
FACTS = (
    Fact("git commit", "git.commit", matters=False),
    Fact("uncommitted changes", "git.dirty", matters=False),
    Fact("code in src/", CODE),
    Fact("requirements.lock", "lock.sha256", matters=False),
    Fact("Python", "python"),
    Fact("processor", "machine.cpu"),
    Fact("vector instructions", "machine.vectors"),
    Fact("cores", "machine.cores"),
    Fact("system", "machine.system"),
    Fact("numerical settings", "machine.settings"),
    Fact("backend", "backend"),
    Fact("device", "device"),
    Fact("devices", "devices"),
    Fact("precision", "precision"),
    Fact("dataset digest", "dataset.digest"),
)


@dataclass(frozen=True)
class Environment:
    """``tags`` as a run carries them; ``files``: path → git's name of the content, None where git cannot tell.

    ``packages``: name → version, of a run that was interrupted ``later_packages`` those that it went on with;
    ``settings``: dotted key → value of the composed config.
    """

    tags: Mapping[str, str]
    files: Mapping[str, str] | None
    packages: Mapping[str, str]
    settings: Mapping[str, str]
    later_packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One thing then and now; ``same`` is None where one of them is not known."""

    what: str
    then: str
    now: str
    same: bool | None
    matters: bool


@dataclass(frozen=True)
class Comparison:
    """Rows, and what differs by name: ``files`` of the checkout, ``packages`` and ``settings`` as lines."""

    rows: tuple[Row, ...]
    files: tuple[str, ...]
    packages: tuple[str, ...]
    settings: tuple[str, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        """Rows that differ and on which the numbers depend."""
        return tuple(row for row in self.rows if row.matters and row.same is False)

    @property
    def same(self) -> bool:
        """Whether all that the numbers depend on is known and the same."""
        return all(row.same for row in self.rows if row.matters)


def compare(then: Environment, now: Environment) -> Comparison:
    """What is the same and what is not."""
    files = () if then.files is None or now.files is None else differing(then.files, now.files)
    packages = _changes(then.packages, now.packages)
    settings = _changes(then.settings, now.settings)
    rows = [_row(fact, then, now, files) for fact in FACTS]
    rows.append(_counted("packages", then.packages, now.packages, packages))
    rows.append(_counted("settings", then.settings, now.settings, settings))
    rows += _going_on(then)
    return Comparison(tuple(rows), files, packages, settings)


def _going_on(then: Environment) -> list[Row]:
    """Of a run that was interrupted: whether it went on with what it began with, as a repetition does."""
    tags = then.tags
    if f"{RESUMED}.{CODE}" not in tags:
        return []
    later = [(fact.name, tags.get(fact.tag), tags.get(f"{RESUMED}.{fact.tag}")) for fact in FACTS if fact.matters]
    other = [f"{name} ({_short(after)})" for name, before, after in later if before and after and before != after]
    if then.later_packages and then.packages != then.later_packages:
        other.append("packages")
    said = f"went on with other: {', '.join(other)}" if other else "went on with the same"
    return [Row("after an interruption", said, "none", not other, matters=True)]


def _row(fact: Fact, then: Environment, now: Environment, files: tuple[str, ...]) -> Row:
    before, after = then.tags.get(fact.tag, ""), now.tags.get(fact.tag, "")
    same = before == after if before and after else None
    if same is None and fact.tag == CODE and then.files is not None and now.files is not None:
        same = not any(path.startswith(SOURCES) for path in files)
    return Row(fact.name, _short(before), _short(after), same, fact.matters)


def _counted(name: str, then: Mapping[str, str], now: Mapping[str, str], changes: tuple[str, ...]) -> Row:
    after = f"{len(changes)} differ" if changes else f"{len(now)}"
    return Row(name, f"{len(then)}" if then else UNKNOWN, after, not changes if then else None, matters=True)


def _short(value: str) -> str:
    if not value:
        return UNKNOWN
    return value[:12] if HASH.fullmatch(value) else {"true": "yes", "false": "no"}.get(value, value)


def _changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    if not then:
        return ()
    names = sorted({*then, *now}, key=str.lower)
    return tuple(
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in names
        if then.get(name) != now.get(name)
    )


def packages_of(listed: str) -> dict[str, str]:
    """Name → version of lines ``name==version``."""
    pairs = (line.partition("==") for line in listed.splitlines() if "==" in line)
    return {name: version for name, _, version in pairs}


def overlaid(tree: Mapping[str, str], patch: str) -> dict[str, str]:
    """The files of a commit after ``patch``: path → git's name of the content.

    ``patch`` is what ``git diff`` writes without looking for renames; names may be abbreviated in it.
    """
    files, path = dict(tree), ""
    for line in patch.splitlines():
        if line.startswith("diff --git "):
            names = line.removeprefix("diff --git ")
            path = names[2 : (len(names) - 1) // 2]
        elif line.startswith("index ") and path:
            content = line.split()[1].partition("..")[2]
            if content.startswith(ABSENT):
                files.pop(path, None)
            else:
                files[path] = content
    return files


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Paths whose content differs, those of SOURCES first; an abbreviated name counts as the whole one."""
    paths = {*then, *now}
    found = (path for path in paths if not _same_content(then.get(path, ""), now.get(path, "")))
    return tuple(sorted(found, key=lambda path: (not path.startswith(SOURCES), path)))


def _same_content(first: str, second: str) -> bool:
    if not first or not second:
        return first == second
    return first.startswith(second) or second.startswith(first)


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Rows as ``--json`` has them."""
    return [{"what": row.what, "then": row.then, "now": row.now, "same": row.same} for row in rows]
