"""`bouncekit policy`: files of rules, checked, shown and tried on their own examples."""

from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line
from bouncekit.cli.settings import complete_policy, json_option, show_help
from bouncekit.errors import ConfigurationError, Finding, PolicyError

if TYPE_CHECKING:
    from bouncekit.policy import Policy
    from bouncekit.policytrial import ExampleResult

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
    """Print every mistake in policies, with its place.

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
    """Try policies on the examples in their rules.

    The shipped classifier reads them. Exit code 1 if one is decided otherwise.
    """
    from bouncekit.builtin import classify
    from bouncekit.policytrial import run_examples

    code = 0
    for name in progress(policies, "policies", prints=True):
        results = run_examples(_opened(name), classify)
        failures = [result for result in results if not result.ok]
        code |= bool(failures)
        if as_json:
            shown = [_failure(failure) for failure in failures]
            show_json({"policy": name, "ok": not failures, "examples": len(results), "failures": shown})
        else:
            for failure in failures:
                show_line(_told(failure))
            show_line(f"{name}: {len(results) - len(failures)} of {len(results)} examples are decided as they say")
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
    try:
        _opened(file)
    except PolicyError as error:
        return error.findings
    except ConfigurationError as error:
        return (Finding(file, None, None, str(error).removeprefix(f"{file}: ")),)
    return ()


def _failure(result: "ExampleResult") -> dict[str, Any]:
    return {
        "rule": result.rule,
        "reply": result.example.reply,
        "stage": result.example.stage.value,
        "category": result.verdict.category.value,
        "scope": result.verdict.scope.value if result.verdict.scope else None,
        "classified_by": result.verdict.rule,
        "decided_by": result.decided_by,
        "where": result.where,
        "fate": result.fate.value if result.fate else None,
    }


def _told(result: "ExampleResult") -> str:
    """A failure in one line: where it stands, what the example says, what came of it, and why."""
    example, verdict = result.example, result.verdict
    place = f" ({verdict.where})" if verdict.where else ""
    return (
        f"{result.where}: rule {result.rule}: {example.reply!r} at {example.stage} is decided by rule "
        f"{result.decided_by}: {result.fate}; it means {verdict.category}, says {verdict.rule}{place}"
    )
