"""Policy files: from text to `Policy`, with every mistake at its place and what would be right.

A file may extend another one. Its own rules are tried first; a rule with the id of a base rule takes that one's
place; schedules, classes, ladders, channels and templates of the same name replace, also for the base's rules. The
files of rules about replies that all of them name count, the owner's first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Fate
from bouncekit.policy.schedule import Schedule
from bouncekit.policyfiles.policybuild import Part, build_policy, default_class
from bouncekit.policyfiles.policyquarrel import quarrels
from bouncekit.policyfiles.policyschema import PolicyText
from bouncekit.policyfiles.policyshape import Section
from bouncekit.policyfiles.policytext import read_tree
from bouncekit.policyfiles.policytree import MAX_FINDINGS, Path, Tree, listed, quoted
from bouncekit.policyfiles.policyvalue import MAX_RULE_FILES, is_rule_file, nearest
from bouncekit.words.errors import Finding, PolicyError, RuleError

__all__ = ["Source", "findings_of", "read_policy"]

MAX_BASES = 8

Resolve = Callable[[str], tuple[str, str]]
Known = Callable[[], Mapping[str, Schedule]]
Check = Callable[[Meaning], object]


def _no_rules(name: str) -> tuple[str, str]:
    raise LookupError(f"{name}: files of rules stand beside a policy that is a file itself")


@dataclass(frozen=True, slots=True)
class Source:
    """A policy with the texts that it was read from, the owner's first: where each thing in it stands."""

    policy: Policy
    trees: tuple[Tree, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it came from, also those of rules about replies."""
        meaning = self.policy.meaning
        return (*(tree.file for tree in self.trees), *(rules.file for rules in meaning.own + meaning.community))

    def is_own(self, section: str, name: str) -> bool:
        """Whether it stands in the owner's file, and not in one that this extends."""
        found = self._find(section, name)
        return found is not None and found[0] is self.trees[0]

    def says(self, section: str, name: str, key: str) -> bool:
        """Whether a file says something at that key of what has a name, so that it is not so by default."""
        tree, path = self._find(section, name) or (self.trees[0], (section, name))
        return tree.value((*path, key)) is not None

    def finding(self, code: str, message: str, fix: str, section: str, name: str = "", *keys: str | int) -> Finding:
        """A finding at a rule, by its id, or at what else has a name; at one of its keys, where it has that."""
        tree, path = self._find(section, name) or (self.trees[0], (section,))
        return replace(tree.finding((*path, *keys), message), code=code, fix=fix)

    def _find(self, section: str, name: str) -> tuple[Tree, Path] | None:
        for tree in self.trees:
            said = tree.value((section,))
            if isinstance(said, dict) and name in said:
                return tree, (section, name)
            for index, one in enumerate(said if isinstance(said, list) else ()):
                if one == name or (isinstance(one, dict) and one.get("id") == name):
                    return tree, (section, index)
        return None


def read_policy(
    name: str,
    text: str,
    *,
    resolve: Resolve,
    known: Known = dict,
    find_rules: Resolve = _no_rules,
    check_rules: Check = bool,
) -> Source:
    """The policy in a text. The suffix of `name` says which format it is: .toml, .json, else YAML.

    `resolve` finds what a file extends: from its name to a file and its text, or LookupError. `known` are schedules
    that rules may name without a definition; it is called only where one does. `find_rules` finds a file of rules about
    replies in the same way, and `check_rules` raises RuleError where those that are named will not do together.

    Raises:
        PolicyError: every mistake of this file and of those that it extends and names, in their order.
    """
    files, findings = _read_all(name, text, resolve)
    more_schedules = known() if _names_more_schedules(files) else {}
    parts, more = _validate_all(files, more_schedules, is_whole=not findings)
    findings += more
    meaning, more = _meaning(files, find_rules, check_rules)
    if not findings:
        findings += _gaps(parts)
    findings += more
    named = meaning.own + meaning.community
    if findings:
        raise PolicyError(_in_order(findings, [*(file.tree.file for file in files), *(rules.file for rules in named)]))
    used = {wait: more_schedules[wait] for wait in _waits_of(parts) if wait in more_schedules}
    digest = _hash((*(file.text for file in files), *map(repr, used.values()), *(rules.text for rules in named)))
    policy = build_policy(PurePath(name).stem, parts, digest, used, meaning)
    return Source(policy, tuple(part.tree for part in parts))


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the chain: the owner's, or one that it extends."""

    tree: Tree
    text: str


def _read_all(name: str, text: str, resolve: Resolve) -> tuple[list[_File], list[Finding]]:
    """The file and all that it extends, the owner's first; as far as they can be found and read."""
    files = [_File(read_tree(name, text), text)]
    asked: list[str] = []
    while isinstance(base := (tree := files[-1].tree).value(("extends",)), str):
        if base in asked or len(asked) >= MAX_BASES:
            why = "extends itself" if base in asked else f"extends more than {MAX_BASES} others"
            shown = " -> ".join(quoted(one) for one in (*asked, base))
            return files, [tree.finding(("extends",), f"{shown}: a policy that {why}")]
        asked.append(base)
        try:
            file, text = resolve(base)
            files.append(_File(read_tree(file, text), text))
        except LookupError as error:
            why = str(error.args[0]) if error.args else f"there is no policy {quoted(base)}"
            return files, [tree.finding(("extends",), why)]
        except PolicyError as error:
            return files, list(error.findings)
    return files, []


def _meaning(files: Iterable[_File], find: Resolve, check: Check) -> tuple[Meaning, list[Finding]]:
    """The files of rules that the files of the chain name, as far as they can be found, and what is wrong in them."""
    findings: list[Finding] = []
    meaning = Meaning()
    for tree in (file.tree for file in files):
        found: dict[str, tuple[RuleFile, ...]] = {"own": (), "community": ()}
        for kind, path, name in _rule_files(tree):
            try:
                file, text = find(name)
                found[kind] += (RuleFile(file, text, name),)
            except LookupError as error:
                findings.append(tree.finding(path, str(error.args[0])))
        meaning += Meaning(**found)
    try:
        if meaning:
            check(meaning)
    except RuleError as error:
        findings += error.findings
    return meaning, findings


def _rule_files(tree: Tree) -> Iterator[tuple[str, Path, str]]:
    """Whose each file of rules is, where its name stands, and the name; what is no name, the schema finds."""
    said = tree.value(("meaning",))
    by_kind = said if isinstance(said, dict) else {"own": said}
    for kind in ("own", "community"):
        for index, name in enumerate(listed(by_kind.get(kind))[:MAX_RULE_FILES]):
            if is_rule_file(name):
                yield kind, ("meaning", kind, index), name


def _names_more_schedules(files: Iterable[_File]) -> bool:
    """Whether a rule or a class waits by a name that no file defines."""
    names = (name for file in files for name in listed(file.tree.value(("schedules",))))
    defined = {name for name in names if isinstance(name, str)}
    said = [one for file in files for one in (*listed(file.tree.value(("rules",))), *_classes_in(file.tree))]
    waits = (one.get("wait") for one in said if isinstance(one, dict))
    return any(isinstance(wait, str) and wait not in defined for wait in waits)


def _classes_in(tree: Tree) -> list[Any]:
    classes = tree.value(("classes",))
    return list(classes.values()) if isinstance(classes, dict) else []


def _validate_all(
    files: Sequence[_File], more_schedules: Iterable[str], *, is_whole: bool
) -> tuple[list[Part], list[Finding]]:
    """What the files say, the owner's first, and all that is wrong in them."""
    names: dict[str, dict[str, None]] = {kind: {} for kind in _NAMES}
    parts: list[Part] = []
    findings: list[Finding] = []
    for file in reversed(files):
        tree = file.tree
        for kind, key in _NAMES.items():
            names[kind] |= dict.fromkeys(name for name in listed(tree.value((key,))) if isinstance(name, str))
        wrong = {(one.line, one.column) for one in tree.findings}
        try:
            context = {**names, "schedule": names["schedule"] | dict.fromkeys(more_schedules)} if is_whole else {}
            parts.insert(0, Part(tree, PolicyText.model_validate(tree.data, context=context)))
        except ValidationError as error:
            found = findings_of(tree, error)
            findings += (one for one in found if one.line is None or (one.line, one.column) not in wrong)
        findings += (*tree.findings, *quarrels(tree))
    return parts, list(dict.fromkeys(findings))


_ENOUGH = 1_000  # mistakes of one file, of which MAX_FINDINGS are shown
_NAMES = {
    "schedule": "schedules",
    "ladder": "ladders",
    "channel": "channels",
    "template": "templates",
    "class": "classes",
}


def findings_of(tree: Tree, error: ValidationError, model: type[Section] = PolicyText) -> Iterator[Finding]:
    """The findings of a schema in our words."""
    errors = error.errors(include_url=False, include_input=False)[:_ENOUGH]
    return filter(None, (_finding(tree, one, model) for one in errors))


def _finding(tree: Tree, error: Mapping[str, Any], model: type[Section]) -> Finding | None:
    location, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        key = str(location[-1])
        right = nearest(key, _keys_at(location[:-1], model))
        return tree.finding(location, f"unknown key {quoted(key)}: {right}", at_key=True)
    if kind == "none_required":
        return None  # only that a key may be left out
    if kind == "missing":
        return tree.finding(location, f"{location[-1]} is missing")
    if kind == "value_error":
        return tree.finding(location, str(error["ctx"]["error"]), at_key=location[-1:] == ("[key]",))
    if kind == "literal_error":
        words = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return tree.finding(location, f"one of {words} is expected here")
    return tree.finding(location, _SAYS.get(kind, error["msg"]))


_SAYS = {
    "model_type": "a mapping is expected here: key: value",
    "dict_type": "a mapping is expected here: name: value",
    "list_type": "a list is expected here: [one, two], or a line with - for each",
    "too_short": "an empty list; leave the key out",
    "too_long": "too many entries here; a policy is a page or two",
}


def _keys_at(location: Path, section: type[Section]) -> list[str]:
    """The keys that may stand in a mapping of the file."""
    is_named = False
    for step in location:
        field = None if is_named else section.model_fields.get(str(step))
        is_named = False
        if field is not None:
            section = _section_in(field.annotation) or section
            is_named = get_origin(field.annotation) is dict
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_in(annotation: Any) -> type[Section] | None:
    inner = get_args(annotation)
    if not inner and isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for one in inner if (found := _section_in(one))), None)


def _gaps(parts: Sequence[Part]) -> Iterator[Finding]:
    """What is missing when all files are put together."""
    own = parts[0].tree
    if default_class(parts) is None:
        has_some = any(part.says.classes for part in parts)
        wanted = "write default: true in one of them" if has_some else "write classes, or extends: default"
        yield own.finding(("classes",), f"no class is the default one; {wanted}")
    if not any(part.says.rules for part in parts):
        yield own.finding((), "no rules; write some, or extends: default")
    if not any(part.says.schedules for part in parts):
        for part in parts:
            for index, rule in enumerate(part.says.rules):
                if rule.do is Fate.RETRY and rule.wait is None:
                    yield part.tree.finding(("rules", index, "do"), "retry needs a wait, or the policy a schedule")


def _in_order(findings: Iterable[Finding], files: Sequence[str]) -> list[Finding]:
    """By file, the owner's first, and by place; no more than anybody reads."""
    order = {file: index for index, file in reversed(list(enumerate(files)))}
    ordered = sorted(findings, key=lambda one: (order.get(one.file, len(order)), one.line or 0, one.column or 0))
    rest = [Finding(files[0], None, None, "and more mistakes")] if len(ordered) > MAX_FINDINGS else []
    return ordered[:MAX_FINDINGS] + rest


def _waits_of(parts: Iterable[Part]) -> list[str]:
    """The schedules that rules and classes name and no file defines."""
    defined = {name for part in parts for name in part.says.schedules}
    waits = [rule.wait for part in parts for rule in part.says.rules]
    waits += [one.wait for part in parts for one in part.says.classes.values()]
    return [wait for wait in waits if isinstance(wait, str) and wait not in defined]


def _hash(texts: Iterable[str]) -> str:
    """One name for the very texts of a policy."""
    digest = blake2b(digest_size=16)
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()
