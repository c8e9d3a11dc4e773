"""Trials of policies in the XML that test runners write and CI systems read: JUnit's, as Jenkins and GitLab take it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from bouncekit.cli.trials import Trial

__all__ = ["write_junit"]

# XML 1.0 2.2: what no document can have in it, not even as a reference.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(file: str, tried: Mapping[str, Sequence[Trial]]) -> None:
    """Write a suite for each policy, with a test for each example and case."""
    suites = Element("testsuites", _counts(trial for trials in tried.values() for trial in trials))
    for name, trials in tried.items():
        suite = SubElement(suites, "testsuite", {"name": _clean(name), **_counts(trials)})
        for trial in trials:
            _add(suite, name, trial)
    indent(suites)
    ElementTree(suites).write(file, encoding="utf-8", xml_declaration=True)


def _add(suite: Element, policy: str, trial: Trial) -> None:
    place, _, line = trial.where.rpartition(":")
    at = {"file": place, **({"line": line} if line.isdigit() else {})}
    case = SubElement(
        suite,
        "testcase",
        {
            key: _clean(value)
            for key, value in {"classname": f"{policy}.{trial.rule}", "name": trial.title, **at}.items()
        },
    )
    if not trial.ok:
        failure = SubElement(
            case, "failure", {"message": _clean(str(trial).splitlines()[0]), "type": "decided otherwise"}
        )
        failure.text = _clean(str(trial))


def _counts(trials: Iterable[Trial]) -> dict[str, str]:
    outcomes = [trial.ok for trial in trials]
    return {"tests": str(len(outcomes)), "failures": str(outcomes.count(False)), "errors": "0"}


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
