"""`bouncekit policy`: policies and files of rules about replies, checked, shown and tried on their own examples."""

from typing import TYPE_CHECKING

import click

from bouncekit.cli.output import progress, show_json, show_line
from bouncekit.cli.settings import complete_policy, json_option, show_help
from bouncekit.errors import ConfigurationError, Finding, PolicyError, RuleError

if TYPE_CHECKING:
    from bouncekit.policy import Policy

__all__ = ["verb"]


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Check, show and test policies: shipped ones by name, your own by file."""
    show_help(ctx)


@verb.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option("JSON lines: file, ok, findings with file, line, column, message")
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Print every mistake in policies and files of rules.

    A line each, as FILE:LINE:COLUMN: what would be right. Exit code 1 if there is one.
    """
    code = 0
    for file in files:
        findings = _findings(file)
        code |= bool(findings)
        if as_json:
            shown = [
                {"file": one.file, "line": one.line, "column": one.column, "message": one.message} for one in findings
            ]
            show_json({"file": file, "ok": not findings, "findings": shown})
        else:
            for finding in findings:
                show_line(str(finding))
            if not findings:
                show_line(f"{file}: ok")
    return code


@verb.command()
@click.argument("policy", metavar="NAME|FILE", shell_complete=complete_policy)
@json_option("one JSON document")
def show(policy: str, as_json: bool) -> None:
    """Print a policy as it holds.

    What it extends is in it, in the order in which the rules are tried, and every default.
    """
    from bouncekit.policyprint import show_policy

    opened = _opened(policy)
    shown = show_policy(opened)
    show_json({"name": opened.name, "hash": opened.hash, "policy": shown}) if as_json else click.echo(
        shown.rstrip("\n")
    )


@verb.command()
@click.argument("policies", metavar="NAME|FILE...", nargs=-1, required=True, shell_complete=complete_policy)
@json_option("JSON lines: policy, ok, examples, failures")
def test(policies: tuple[str, ...], as_json: bool) -> int:
    """Try policies and files of rules on their examples.

    The files of rules that a policy names are tried with it. Exit code 1 if an example is decided otherwise; it is told
    with what was expected, what came, and which rule won.
    """
    from bouncekit.cli.trials import trials

    code = 0
    for name in progress(policies, "policies", prints=True):
        tried = list(trials(name))
        failures = [trial for trial in tried if not trial.ok]
        code |= bool(failures)
        if as_json:
            shown = [failure.data for failure in failures]
            show_json({"policy": name, "ok": not failures, "examples": len(tried), "failures": shown})
        else:
            for failure in failures:
                show_line(str(failure))
            show_line(f"{name}: {len(tried) - len(failures)} of {len(tried)} examples are decided as they say")
    return code


@verb.command()
@json_option("it in one line")
def schema(as_json: bool) -> None:
    """Print the JSON schema of policy files, for editors."""
    import json

    from bouncekit.policyschema import policy_schema

    show_json(policy_schema()) if as_json else click.echo(json.dumps(policy_schema(), indent=2))


def _opened(name: str) -> "Policy":
    from bouncekit.builtin import open_policy

    return open_policy(name)


def _findings(file: str) -> tuple[Finding, ...]:
    """The mistakes of a file; one without a line for a file that cannot be read at all."""
    from bouncekit.builtin import read_source
    from bouncekit.cli.trials import classifier_alone
    from bouncekit.policylint import lint
    from bouncekit.provider import providers

    try:
        if classifier_alone(file) is None:
            return lint(read_source(file), providers=providers())
    except (PolicyError, RuleError) as error:
        return error.findings
    except ConfigurationError as error:
        return (Finding(file, None, None, str(error).removeprefix(f"{file}: ")),)
    return ()


def _code(finding: Finding) -> str:
    return finding.code or "grammar"


def _finding_data(finding: Finding) -> dict[str, object]:
    from bouncekit.policylint import FAULTS

    return {
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "code": _code(finding),
        "level": FAULTS[_code(finding)].level.value,
        "message": finding.message,
        "fix": finding.fix or None,
    }
