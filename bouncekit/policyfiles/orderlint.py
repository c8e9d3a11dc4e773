"""What the order of a policy's rules leaves to each of them: nothing at all, or replies that no rule is about."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from bouncekit.meaning.classification import Category
from bouncekit.policy.rule import Condition, Rule, SessionRule
from bouncekit.policyfiles.checked import Checked, Rules, at_its_place, decides_always, does_the_same
from bouncekit.policyfiles.policyspace import Box, Space
from bouncekit.policyfiles.policytree import listed, quoted
from bouncekit.words.errors import Finding

__all__ = ["ORDER_CHECKS"]

_LEAST_REFUSAL, _REFUSALS = 400, 200  # codes from 400 to 599
# The keys of a condition that list words: two rules may share some of them.
_SETS = (
    "category",
    "scope",
    "stage",
    "cause",
    "provider",
    "message_class",
    "tenant",
    "stream",
    "code",
    "enhanced",
    "text",
    "domain",
    "sender",
)
_Found = tuple[str, str, str]  # code, what is wrong, what would be right


# -- rules that the ones before them leave nothing to


def _unreached(checked: Checked) -> Iterator[Finding]:
    for kind in (checked.recipients, checked.sessions):
        for rule, before in checked.own_of(kind):
            if checked.space.is_empty(kind.boxes[rule.id]):
                continue  # it never matches, which is told by another check
            takers = [one for one in before if decides_always(one) or one.do is rule.do]
            found = _taken_by_one(checked.space, kind, rule, takers) or _taken_together(
                checked.space, kind, rule, takers
            )
            if found is None:
                continue
            code, what, fix = found
            if code == "unreachable-rule" and rule.id in _base_ids(checked, kind.section):
                fix = "an id of its own: by that of a base rule it has its place, behind all that are new; or remove it"
            yield checked.source.finding(code, what, fix, kind.section, rule.id, "id")


def _base_ids(checked: Checked, section: str) -> set[str]:
    """The ids of the rules that the file extends."""
    trees = checked.source.trees[1:]
    return {one["id"] for tree in trees for one in listed(tree.value((section,)))}


def _taken_by_one(
    space: Space, kind: Rules, rule: Rule | SessionRule, takers: Sequence[Rule | SessionRule]
) -> _Found | None:
    box = kind.boxes[rule.id]
    other = next((one for one in takers if space.covers(kind.boxes[one.id], box)), None)
    if other is None:
        return None
    if space.covers(box, kind.boxes[other.id]) and not does_the_same(rule, other):
        what = f"{rule.id} asks for the same as {other.id}, which comes first and does {other.do}{at_its_place(other)}"
        return "contradictory-rules", what, "keep one of them"
    what = f"{rule.id} is never reached: {other.id} takes all of it{at_its_place(other)}"
    return "unreachable-rule", what, f"put it before {other.id}, or remove it"


def _taken_together(
    space: Space, kind: Rules, rule: Rule | SessionRule, takers: Sequence[Rule | SessionRule]
) -> _Found | None:
    if space.left([kind.boxes[rule.id]], [kind.boxes[other.id] for other in takers]) != []:
        return None
    what = f"{rule.id} is never reached: the rules before it take all of it together"
    return "unreachable-rule", what, "put it before them, or remove it"


def _hidden_base(checked: Checked) -> Iterator[Finding]:
    policy, boxes = checked.policy, checked.recipients.boxes
    places = [place for place, rule in enumerate(policy.rules) if not checked.source.is_own("rules", rule.id)]
    if not places:
        return
    left: Sequence[Box] = [checked.space.everything()]
    for rule in filter(decides_always, policy.rules[: places[0]]):
        if (rest := checked.space.left(left, [boxes[rule.id]])) is None:
            return
        if not (left := rest):
            message = f"behind {rule.id} no reply is left for the {len(places)} rules that the file extends"
            fix = "give it a when, or leave extends out"
            yield checked.source.finding("hides-base", message, fix, "rules", rule.id, "id")
            return


# -- rules that are near to each other


def _overlaps(checked: Checked) -> Iterator[Finding]:
    """Rules of the same kind that share some of their words."""
    boxes = checked.recipients.boxes
    own = [rule for rule in checked.own() if decides_always(rule)]
    for at, rule in enumerate(own):
        for other in own[:at]:
            if does_the_same(rule, other) or _keys(rule.when) != _keys(other.when):
                continue
            if not checked.space.meet(boxes[rule.id], boxes[other.id]):
                continue
            for key, words in _shared(rule.when, other.when):
                place = at_its_place(other)
                message = f"{rule.id} and {other.id}{place} both ask for {key} {words}, and {other.id} decides"
                fix = f"take it out of {rule.id}, or write a rule of its own for it before both"
                yield checked.source.finding("overlapping-rules", message, fix, "rules", rule.id, "when", key)


def _shared(when: Condition, other: Condition) -> Iterator[tuple[str, str]]:
    """The keys whose words are partly the same, with these words."""
    for key in _SETS:
        one, two = frozenset(getattr(when, key)), frozenset(getattr(other, key))
        if (shared := one & two) and not one <= two and not two <= one:
            yield key, ", ".join(sorted(getattr(word, "text", str(word)) for word in shared))


def _keys(when: Condition) -> frozenset[str]:
    default = Condition()
    return frozenset(key for key in Condition.__slots__ if getattr(when, key) != getattr(default, key))


def _misspelt(checked: Checked) -> Iterator[Finding]:
    base = _base_ids(checked, "rules")
    for rule in checked.own():
        close = get_close_matches(rule.id, base - {rule.id}, n=1, cutoff=0.9) if rule.id not in base else []
        if close and not checked.source.is_own("rules", close[0]):
            message = f"{quoted(rule.id)} takes the place of no rule"
            fix = f"for that of the base write {close[0]}; for another rule, choose an id less like it"
            yield checked.source.finding("misspelt-id", message, fix, "rules", rule.id, "id")


# -- what no rule is about


def _gaps(checked: Checked) -> Iterator[Finding]:
    space = checked.space
    taken = [checked.recipients.boxes[rule.id] for rule in checked.policy.rules if decides_always(rule)]
    left = space.left([space.everything()], taken)
    for permanent, kind in ((True, "permanent"), (False, "temporary")):
        boxes = [box for box in left or () if permanent in space.values("permanent", box)]
        found = {category for box in boxes for category in space.values("category", box)}
        if found:
            every = len(found) == len(Category)
            names = ("any category" if every else ", ".join(sorted(found))) + _codes(space, boxes)
            end = "{id: permanent, do: fail}" if permanent else "{id: temporary, when: {permanent: false}, do: retry}"
            message = f"no rule is about some {kind} replies of {names}"
            yield checked.source.finding("uncovered", message, f"end with {end}", "rules")


def _codes(space: Space, boxes: Iterable[Box]) -> str:
    """The reply codes of some cases, for people; "" where they are of any."""
    found = {code for box in boxes for code in space.values("code", box) if code is not None and code >= _LEAST_REFUSAL}
    if not found or len(found) == _REFUSALS:
        return ""
    firsts = sorted(code for code in found if code - 1 not in found)
    lasts = sorted(code for code in found if code + 1 not in found)
    spans = (str(one) if one == last else f"{one}-{last}" for one, last in zip(firsts, lasts, strict=True))
    return f" with the code {', '.join(spans)}"


def _session_gaps(checked: Checked) -> Iterator[Finding]:
    boxes = list(checked.sessions.boxes.values())
    if checked.space.left([checked.space.everything()], boxes):
        yield checked.source.finding(
            "uncovered-session",
            "no rule is about some ends of sessions" if boxes else "no rule is about the end of a session",
            "end with {id: broken, do: close}, or let the file extend default",
            "sessions",
        )


ORDER_CHECKS = (_unreached, _hidden_base, _overlaps, _misspelt, _gaps, _session_gaps)
