"""Findings as SARIF 2.1.0, which code hosts and editors show beside the lines (OASIS, 27 March 2020)."""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from bouncekit._version import __version__
from bouncekit.policyfiles.policyfault import FAULTS
from bouncekit.words.errors import Finding

__all__ = ["sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding]) -> Mapping[str, Any]:
    """One log with one run: every kind of finding there is, and those that were found."""
    kinds = list(FAULTS)
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "bouncekit policy check",
                        "version": __version__,
                        "rules": [_kind(code) for code in kinds],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, kinds) for finding in findings],
            }
        ],
    }


def _kind(code: str) -> Mapping[str, Any]:
    fault = FAULTS[code]
    return {
        "id": code,
        "shortDescription": {"text": fault.what},
        "fullDescription": {"text": f"{fault.what}: {fault.why}"},
        "defaultConfiguration": {"level": fault.level.value},
    }


def _result(finding: Finding, kinds: list[str]) -> Mapping[str, Any]:
    code = finding.code or "grammar"
    text = f"{finding.message}; {finding.fix}" if finding.fix else finding.message
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
    if finding.line is not None:
        place["region"] = {"startLine": finding.line}
        if finding.column is not None:
            place["region"]["startColumn"] = finding.column
    return {
        "ruleId": code,
        "ruleIndex": kinds.index(code),
        "level": FAULTS[code].level.value,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    """A relative reference as it is, an absolute path as a file's."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
