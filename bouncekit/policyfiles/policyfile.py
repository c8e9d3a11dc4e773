"""Policy files: from text to `Policy`, with every mistake at its place and what would be right.

A file may extend another one. Its own rules are tried first; a rule with the id of a base rule takes that one's
place; schedules, classes, ladders, channels and templates of the same name replace, also for the base's rules. The
files of rules about replies that all of them name count, the owner's first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.policy.budget import Budget
from bouncekit.policy.guard import Guard
from bouncekit.policy.policy import Keep, MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Limit, Notice, Rule, SeenBy, SessionFate, SessionRule
from bouncekit.policy.schedule import USUAL_HINTS, Hints, Schedule
from bouncekit.policy.suppression import Ladder
from bouncekit.policy.template import Template
from bouncekit.policy.throttle import Throttle, Throttles
from bouncekit.policyfiles.policyschema import (
    BudgetText,
    ClassText,
    LadderText,
    NoticeText,
    PolicyText,
    RuleText,
    ScheduleText,
    SessionRuleText,
    ThrottleText,
)
from bouncekit.policyfiles.policytext import MAX_FINDINGS, Path, Tree, quoted, read_tree
from bouncekit.policyfiles.policyvalue import MAX_RULE_FILES, Section, is_rule_file, nearest
from bouncekit.policyfiles.schedulefile import build_schedule
from bouncekit.protocol.classmark import ClassMarks
from bouncekit.words.errors import Finding, PolicyError, RuleError
from bouncekit.words.reply import Cause, Stage

__all__ = ["Source", "findings_of", "load_policy", "read_policy"]

MAX_BASES = 8

Resolve = Callable[[str], tuple[str, str]]
Known = Callable[[], Mapping[str, Schedule]]
Check = Callable[[Meaning], object]
RT = TypeVar("RT", RuleText, SessionRuleText)


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


def load_policy(
    name: str,
    text: str,
    *,
    resolve: Resolve,
    known: Known = dict,
    find_rules: Resolve = _no_rules,
    check_rules: Check = bool,
) -> Policy:
    """The policy in a text, as `read_policy` reads it."""
    return read_policy(name, text, resolve=resolve, known=known, find_rules=find_rules, check_rules=check_rules).policy


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
    policy = _build(PurePath(name).stem, parts, digest, used, meaning)
    return Source(policy, tuple(part.tree for part in parts))


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the chain: the owner's, or one that it extends."""

    tree: Tree
    text: str


@dataclass(frozen=True, slots=True)
class _Part:
    """What one file says, when it is right."""

    tree: Tree
    says: PolicyText


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
        for index, name in enumerate(_listed(by_kind.get(kind))[:MAX_RULE_FILES]):
            if is_rule_file(name):
                yield kind, ("meaning", kind, index), name


def _names_more_schedules(files: Iterable[_File]) -> bool:
    """Whether a rule or a class waits by a name that no file defines."""
    listed = (name for file in files for name in _listed(file.tree.value(("schedules",))))
    defined = {name for name in listed if isinstance(name, str)}
    said = [one for file in files for one in (*_listed(file.tree.value(("rules",))), *_classes_in(file.tree))]
    waits = (one.get("wait") for one in said if isinstance(one, dict))
    return any(isinstance(wait, str) and wait not in defined for wait in waits)


def _classes_in(tree: Tree) -> list[Any]:
    classes = tree.value(("classes",))
    return list(classes.values()) if isinstance(classes, dict) else []


def _validate_all(
    files: Sequence[_File], more_schedules: Iterable[str], *, is_whole: bool
) -> tuple[list[_Part], list[Finding]]:
    """What the files say, the owner's first, and all that is wrong in them."""
    names: dict[str, dict[str, None]] = {kind: {} for kind in _NAMES}
    parts: list[_Part] = []
    findings: list[Finding] = []
    for file in reversed(files):
        tree = file.tree
        for kind, key in _NAMES.items():
            names[kind] |= dict.fromkeys(name for name in _listed(tree.value((key,))) if isinstance(name, str))
        wrong = {(one.line, one.column) for one in tree.findings}
        try:
            context = {**names, "schedule": names["schedule"] | dict.fromkeys(more_schedules)} if is_whole else {}
            parts.insert(0, _Part(tree, PolicyText.model_validate(tree.data, context=context)))
        except ValidationError as error:
            found = findings_of(tree, error)
            findings += (one for one in found if one.line is None or (one.line, one.column) not in wrong)
        findings += (*tree.findings, *_contradictions(tree))
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


def _contradictions(tree: Tree) -> Iterator[Finding]:
    """What each key allows for itself and all of them together do not."""
    for section, quarrels in (("rules", _quarrels), ("sessions", _session_quarrels)):
        seen: dict[str, int] = {}
        for index, rule in enumerate(_listed(tree.value((section,)))):
            if not isinstance(rule, dict):
                continue
            for path, message in quarrels(rule):
                code, fix = _QUARRELS.get(str(path[0]), ("", ""))
                yield replace(tree.finding((section, index, *path), message), code=code, fix=fix)
            rule_id = rule.get("id")
            if isinstance(rule_id, str) and seen.setdefault(rule_id, index) != index:
                first = tree.where((section, seen[rule_id]))
                yield tree.finding((section, index, "id"), f"duplicate id {quoted(rule_id)}: {first} has it already")
    classes = tree.value(("classes",))
    default = [name for name, one in classes.items() if _is_default(one)] if isinstance(classes, dict) else []
    for name in default[1:]:
        yield tree.finding(("classes", name, "default"), f"{quoted(default[0])} is the default class already; keep one")


_QUARRELS = {"when": ("suppress-not-recipient", "leave suppress out, or make a rule of its own for the recipient")}


def _quarrels(rule: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    do = rule.get("do")
    for key, fate in (("wait", Fate.RETRY), ("learn", Fate.RETRY), ("suppress", Fate.FAIL)):
        if key in rule and isinstance(do, str) and do in _FATES and do != fate:
            yield (key,), f"{key} goes with do: {fate} only, not with {do}"
    when = rule.get("when")
    if "slow" in rule and "pause" in rule:
        yield ("slow",), "slow and pause in one rule: keep one; behind a pause mail goes on slowly as it is"
    for key, fate in (("slow", Fate.SPLIT), ("pause", Fate.SPLIT), ("slow", Fate.ALONE), ("pause", Fate.ALONE)):
        if key in rule and do == fate:
            yield (key,), f"{key} does not go with do: {fate}, which tries again at once"
    if "suppress" in rule and isinstance(when, dict):
        for key, others in _NO_RECIPIENT.items():
            for index, value in enumerate(_listed(when.get(key))):
                if isinstance(value, str) and value in others:
                    yield ("when", key, index), f"{value} is not about the recipient, and nothing else may suppress"
        seen = when.get("seen")
        if isinstance(seen, dict) and seen.get("by") in _OF_OTHERS:
            yield ("when", "seen", "by"), f"nobody is suppressed for what others of a {seen['by']} brought about"
    for measure in ("slow", "pause"):
        if measure in rule and (value := _of_one(when)):
            yield (measure,), f"{value} is about one mail or mailbox: no reason to {measure} all that goes this way"


def _of_one(when: object) -> str | None:
    """What a rule's condition names that says nothing of the way: what one recipient or one message brought about."""
    if not isinstance(when, dict):
        return None
    named = (value for key, others in _NO_WAY.items() for value in _listed(when.get(key)) if str(value) in others)
    return next(map(str, named), None)


def _session_quarrels(rule: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    if "at_most" in rule and rule.get("do") == SessionFate.CLOSE:
        yield ("at_most",), "at_most goes with do: reconnect only, not with close"


_FATES = frozenset(map(str, Fate))
_OF_OTHERS = frozenset(map(str, SeenBy)) - {str(SeenBy.RECIPIENT)}
# Nobody was asked, for what DNS says about the domain, or for what the address is.
_OF_THE_ADDRESS = frozenset({Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS, Cause.LOCAL})
# A reply before RCPT concerns the session or the message; no reply concerns the way (RFC 5321 3.8).
_NO_RECIPIENT: Mapping[str, frozenset[str]] = {
    "category": frozenset(str(one) for one in Category if scope_of(one) is not Scope.RECIPIENT),
    "scope": frozenset(str(one) for one in Scope if one is not Scope.RECIPIENT),
    "stage": frozenset(str(one) for one in Stage if one not in (Stage.RCPT, Stage.END_OF_DATA)),
    "cause": frozenset(str(one) for one in Cause if one not in _OF_THE_ADDRESS),
}


_NO_WAY: Mapping[str, frozenset[str]] = {
    "category": frozenset(str(one) for one in Category if scope_of(one) in (Scope.RECIPIENT, Scope.MESSAGE)),
    "scope": frozenset(map(str, (Scope.RECIPIENT, Scope.MESSAGE))),
}


def _gaps(parts: Sequence[_Part]) -> Iterator[Finding]:
    """What is missing when all files are put together."""
    own = parts[0].tree
    if _default_class(parts) is None:
        yield own.finding(("classes",), "no class is the default one; write default: true in one of them")
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


def _listed(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_default(value: object) -> bool:
    return isinstance(value, dict) and value.get("default") == "true"


def _waits_of(parts: Iterable[_Part]) -> list[str]:
    """The schedules that rules and classes name and no file defines."""
    defined = {name for part in parts for name in part.says.schedules}
    waits = [rule.wait for part in parts for rule in part.says.rules]
    waits += [one.wait for part in parts for one in part.says.classes.values()]
    return [wait for wait in waits if isinstance(wait, str) and wait not in defined]


def _build(name: str, parts: Sequence[_Part], digest: str, used: Mapping[str, Schedule], meaning: Meaning) -> Policy:
    """The policy that right files make, the owner's first; `used` are known schedules that they name."""
    from_base = [part.says for part in reversed(parts)]
    schedules = {key: build_schedule(key, one) for says in from_base for key, one in says.schedules.items()}
    schedules |= used
    ladders = {key: _ladder(key, one) for says in from_base for key, one in says.ladders.items()}
    classes = {key: _class(key, one, schedules) for says in from_base for key, one in says.classes.items()}
    limits = {key: one for says in from_base for key, one in _limits(says)}
    templates = {key: Template(key, one.subject, one.text) for says in from_base for key, one in says.templates.items()}
    guards = [says.guard for says in from_base if says.guard]
    keep = {key: one for says in from_base if says.keep for key, one in says.keep.given().items()}
    hints = [says.hints for says in from_base if says.hints]
    throttles = [says.throttles for says in from_base if says.throttles]
    budgets = [says.budget for says in from_base if says.budget]
    rules = _merged((part.tree, "rules", part.says.rules) for part in parts)
    sessions = _merged((part.tree, "sessions", part.says.sessions) for part in parts)
    return Policy(
        name=name,
        hash=digest,
        classes=MappingProxyType(classes),
        default_class=_default_class(parts) or "",
        class_marks=_class_marks(parts),
        rules=tuple(_rule(text, where, schedules, ladders, _Notices(templates, limits)) for text, where in rules),
        sessions=tuple(SessionRule(**_given(text), where=where) for text, where in sessions),
        schedules=MappingProxyType(schedules),
        ladders=MappingProxyType(ladders),
        channels=tuple(dict.fromkeys(channel for says in from_base for channel in says.channels or ())),
        limits=MappingProxyType(limits),
        templates=MappingProxyType(templates),
        guard=Guard(**guards[-1].given()) if guards else Guard(),
        keep=Keep(**keep),
        hints=Hints(**hints[-1].given()) if hints else USUAL_HINTS,
        throttles=Throttles(
            relays=_throttles(said.relays for said in throttles),
            providers=_throttles(said.providers for said in throttles),
        ),
        budget=_budget(budgets[-1]) if budgets else None,
        meaning=meaning,
    )


def _merged(parts: Iterable[tuple[Tree, str, list[RT]]]) -> list[tuple[RT, str]]:
    """All rules in the order in which they are tried: new ones before the base's, the same id in its place."""
    merged: list[tuple[RT, str]] = []
    for tree, section, texts in reversed(list(parts)):
        own = {text.id: (text, tree.where((section, index))) for index, text in enumerate(texts)}
        base = {text.id for text, _ in merged}
        kept = [own.get(text.id, (text, where)) for text, where in merged]
        merged = [one for rule_id, one in own.items() if rule_id not in base] + kept
    return merged


def _default_class(parts: Sequence[_Part]) -> str | None:
    return next((name for part in parts for name, one in part.says.classes.items() if one.default), None)


@dataclass(frozen=True, slots=True)
class _Notices:
    """What the notices of rules refer to by name."""

    templates: Mapping[str, Template]
    limits: Mapping[str, Limit]

    def built(self, text: NoticeText) -> Notice:
        return Notice(
            channel=text.channel,
            digest=text.digest,
            template=None if text.template is None else self.templates[text.template],
            limit=self.limits.get(text.channel),
        )


def _limits(says: PolicyText) -> Iterator[tuple[str, Limit]]:
    if isinstance(says.channels, Mapping):
        for name, channel in says.channels.items():
            if channel.limit is not None:
                yield name, Limit(*channel.limit, per_recipient=channel.per == "recipient")


def _rule(
    text: RuleText,
    where: str,
    schedules: Mapping[str, Schedule],
    ladders: Mapping[str, Ladder],
    notices: _Notices,
) -> Rule:
    given = _given(text)
    if text.notify:
        given["notify"] = tuple(map(notices.built, text.notify))
    if text.do is Fate.RETRY:
        wait = text.wait or next(iter(schedules))
        given["wait"] = _schedule(text.id, wait, schedules)
    if text.suppress is not None:
        given["suppress"] = ladders[text.suppress]
    return Rule(**given, where=where)


def _given(text: RuleText | SessionRuleText) -> dict[str, Any]:
    given = text.given()
    return given | {"when": Condition(**text.when.given() if text.when else {})}


def _schedule(name: str, wait: str | ScheduleText, schedules: Mapping[str, Schedule]) -> Schedule:
    """The schedule of that name, or the one that is written out under this one."""
    return schedules[wait] if isinstance(wait, str) else build_schedule(name, wait)


def _class(name: str, text: ClassText, schedules: Mapping[str, Schedule]) -> MessageClass:
    return MessageClass(
        name=name,
        deadline=text.deadline,
        wait=None if text.wait is None else _schedule(name, text.wait, schedules),
        resend_unknown=text.unknown == "resend",
        tries_late=text.late == "try",
        ignores=frozenset(text.ignores or ()),
    )


def _class_marks(parts: Sequence[_Part]) -> ClassMarks:
    """By which headers classes are known: those of the owner's first, and of each class as its last file says."""
    classes = {name: one for part in reversed(parts) for name, one in part.says.classes.items()}
    ordered = dict.fromkeys(name for part in parts for name in part.says.classes)
    return ClassMarks(
        naming=next((part.says.class_header for part in parts if part.says.class_header), None),
        classes=tuple((name, marks) for name in ordered if (marks := tuple(classes[name].headers or ()))),
    )


def _throttles(said: Iterable[Mapping[str, ThrottleText]]) -> Mapping[str, Throttle]:
    return MappingProxyType({name: Throttle(**one.given()) for by_name in said for name, one in by_name.items()})


def _budget(text: BudgetText) -> Budget | None:
    """None where no level is stated: then nothing is counted."""
    budget = Budget(**text.given())
    return budget if any(budget.bounds()) else None


def _ladder(name: str, text: LadderText) -> Ladder:
    return Ladder(
        name=name,
        provisional=text.provisional,
        confirm_after=text.confirm_after,
        confirmed=tuple(text.confirmed),
    )


def _hash(texts: Iterable[str]) -> str:
    """One name for the very texts of a policy."""
    digest = blake2b(digest_size=16)
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()
