"""`bouncekit policy`: policies and files of rules about replies, checked, shown and tried on their own examples."""

from typing import TYPE_CHECKING

import click

from bouncekit.cli.backtest import backtest, diff
from bouncekit.cli.output import progress, show_json, show_line
from bouncekit.cli.settings import complete_policy, json_option, show_help
from bouncekit.cli.shadow import shadow
from bouncekit.words.errors import ConfigurationError, Finding, PolicyError, RuleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bouncekit.cli.trials import Trial, Untried
    from bouncekit.policy.policy import Policy

__all__ = ["verb"]


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Check, show and test policies, and try changes: shipped ones by name, your own by file."""
    show_help(ctx)


@verb.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--ignore", "ignored", metavar="CODE", multiple=True, help="Pass over findings of this code; may be given again."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    show_default=True,
    help="json: a line a file; sarif: one document (SARIF 2.1.0), for code hosts.",
)
@json_option("JSON lines: file, ok, findings with file, line, column, code, level, message, fix")
def check(files: tuple[str, ...], ignored: tuple[str, ...], form: str, as_json: bool) -> int:
    """Print every mistake in policies and files of rules.

    \b
    bouncekit policy check bounces.yaml replies.toml
    bouncekit policy check bounces.yaml --format sarif

    A line each, as FILE:LINE:COLUMN: what is wrong; what would be right [code]. What no policy can say comes alone;
    where there is none of it, rules that are never reached, gaps, tries without an end. Exit code 1 if there is one.
    """
    from bouncekit.cli.sarif import sarif
    from bouncekit.policyfiles.policyfault import FAULTS

    if unknown := [code for code in ignored if code not in FAULTS]:
        raise click.UsageError(f"no finding has the code {unknown[0]!a}; one of {', '.join(FAULTS)}")
    found = {file: [one for one in _findings(file) if _code(one) not in ignored] for file in files}
    if form == "sarif":
        show_json(sarif(finding for findings in found.values() for finding in findings))
        return int(any(found.values()))
    for file, findings in found.items():
        if form == "json" or as_json:
            show_json({"file": file, "ok": not findings, "findings": list(map(_finding_data, findings))})
            continue
        for finding in findings:
            show_line(f"{finding} [{finding.code}]" if finding.code else str(finding))
        if not findings:
            show_line(f"{file}: ok")
    return int(any(found.values()))


@verb.command()
@click.argument("policy", metavar="NAME|FILE", shell_complete=complete_policy)
@json_option("one JSON document")
def show(policy: str, as_json: bool) -> None:
    """Print a policy as it holds.

    \b
    bouncekit policy show default

    What it extends is in it, in the order in which the rules are tried, and every default.
    """
    from bouncekit.policyfiles.policyprint import show_policy

    opened = _opened(policy)
    shown = show_policy(opened)
    show_json({"name": opened.name, "hash": opened.hash, "policy": shown}) if as_json else click.echo(
        shown.rstrip("\n")
    )


@verb.command()
@click.argument("policies", metavar="NAME|FILE...", nargs=-1, required=True, shell_complete=complete_policy)
@click.option(
    "--cases",
    "paths",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True),
    help="Also these cases: a file of them, or a folder; may be given again.",
)
@click.option("--coverage", is_flag=True, help="Name the rules that nothing tried was decided by.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit code 1 if fewer of the rules are tried.",
)
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Also write JUnit's XML, for CI.")
@json_option("JSON lines: policy, ok, examples, failures, rules, untried")
def test(
    policies: tuple[str, ...],
    paths: tuple[str, ...],
    coverage: bool,
    fail_under: float | None,
    junit: str | None,
    as_json: bool,
) -> int:
    """Try policies and files of rules on their examples and on cases.

    \b
    bouncekit policy test bounces.yaml --cases cases/ --coverage
    bouncekit policy test default

    The files of rules that a policy names are tried with it. Exit code 1 if one is decided otherwise; it is told with
    what was expected, what came, and which rule won.
    """
    from bouncekit.cli.junit import write_junit
    from bouncekit.cli.trials import Trial, case_files, trials

    code = 0
    cases, results = case_files(paths), dict[str, list[Trial]]()
    for name in progress(policies, "policies", prints=True):
        tried = results[name] = list(trials(name, cases))
        failures = [trial for trial in tried if not trial.ok]
        rules, left = _coverage(name, tried)
        share = 100 * (1 - len(left) / rules) if rules else 100.0
        code |= bool(failures) or (fail_under is not None and share < fail_under)
        if as_json:
            covered = {"rules": rules, "untried": [{"rule": one.rule, "where": one.where} for one in left]}
            shown = [failure.data for failure in failures]
            show_json({"policy": name, "ok": not failures, "examples": len(tried), "failures": shown, **covered})
            continue
        for failure in failures:
            for line in str(failure).split("\n"):
                show_line(line)
        what = "examples and cases" if cases else "examples"
        show_line(f"{name}: {len(tried) - len(failures)} of {len(tried)} {what} are decided as they say")
        if coverage or fail_under is not None:
            for one in left:
                show_line(f"{one.where}: nothing that was tried is decided by {one.rule}")
            show_line(f"{name}: {rules - len(left)} of {rules} rules are tried, {share:.0f}%")
    if junit is not None:
        write_junit(junit, results)
    return code


@verb.command()
@json_option("it in one line")
def schema(as_json: bool) -> None:
    """Print the JSON schema of policy files, for editors.

    \b
    bouncekit policy schema > policy.schema.json
    """
    import json

    from bouncekit.policyfiles.policyschema import policy_schema

    show_json(policy_schema()) if as_json else click.echo(json.dumps(policy_schema(), indent=2))


verb.add_command(backtest)
verb.add_command(diff)
verb.add_command(shadow)


def _opened(name: str) -> "Policy":
    from bouncekit.outside.builtin import open_policy

    return open_policy(name)


def _findings(file: str) -> tuple[Finding, ...]:
    """The mistakes of a file, and of the files of rules that it names; one without a line where it cannot be read."""
    from bouncekit.cli.trials import classifier_alone
    from bouncekit.outside.builtin import classifier_with, read_source
    from bouncekit.outside.provider import providers
    from bouncekit.policyfiles.policylint import lint
    from bouncekit.policyfiles.rulelint import lint_rules

    try:
        if (alone := classifier_alone(file)) is not None:
            return lint_rules(alone.rules)
        source = read_source(file)
        named = classifier_with(source.policy.meaning).rules
        return (*lint(source, providers=providers()), *lint_rules(named))
    except (PolicyError, RuleError) as error:
        return error.findings
    except ConfigurationError as error:
        return (Finding(file, None, None, str(error).removeprefix(f"{file}: ")),)


def _coverage(name: str, tried: "Sequence[Trial]") -> "tuple[int, list[Untried]]":
    """How many rules a policy has, and which of them nothing came to; a file of rules about replies has none."""
    from bouncekit.cli.trials import classifier_alone, untried

    if classifier_alone(name) is not None:
        return 0, []
    policy = _opened(name)
    return len(policy.rules) + len(policy.sessions), untried(policy, tried)


def _code(finding: Finding) -> str:
    return finding.code or "grammar"


def _finding_data(finding: Finding) -> dict[str, object]:
    from bouncekit.policyfiles.policyfault import FAULTS

    return {
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "code": _code(finding),
        "level": FAULTS[_code(finding)].level.value,
        "message": finding.message,
        "fix": finding.fix or None,
    }
