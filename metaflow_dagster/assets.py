"""Artifacts as assets, and checks of artifacts, as options of a compilation say them.

    --asset train.model=ml/model                     an asset, materialized when `train` succeeds
    --check-artifact 'train.accuracy >= 0.8'         a check of that, or of the flow's asset
    --check-artifact 'train.drift < 0.1; warn'       which only warns
    --check-artifact 'load.rows > 0; blocking'       after whose failure the run does not go on
    --check-function train=checks:is_calibrated      a function that gets the pathspec of the task

They are data: nothing of them is evaluated as code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from metaflow_dagster.diagnostics import CompileError, Diagnostic, MalformedOption
from metaflow_dagster.ir.assets import (
    ArtifactAsset,
    ArtifactCheck,
    Check,
    CheckFunction,
    Comparison,
    IsNone,
    IsTrue,
)
from metaflow_dagster.ir.flow import (
    Flow,
    Foreach,
    Parallel,
    Step,
    targets,
)
from metaflow_dagster.options import Options

_NAMED: Final = re.compile(r"\s*([A-Za-z_]\w*)\.([A-Za-z_]\w*)\s*", re.ASCII)
_COMPARED: Final = re.compile(r"(>=|<=|==|!=|>|<)\s*(\S.*)", re.DOTALL)
_WORDS: Final = re.compile(r"((?:;\s*(?:warn|error|blocking)\s*)*)$")
_FUNCTION: Final = re.compile(r"([A-Za-z_]\w*)=([A-Za-z_][\w.]*):([A-Za-z_]\w*)(.*)", re.ASCII)
_OPERATORS: Final[Mapping[str, str]] = {
    ">=": "ge",
    "<=": "le",
    "==": "eq",
    "!=": "ne",
    ">": "gt",
    "<": "lt",
}


def read_assets(flow: Flow, options: Options) -> tuple[ArtifactAsset, ...]:
    """The artifacts that are assets.

    Raises
    ------
    CompileError : says all that is wrong with them
    """
    problems: list[Diagnostic] = []
    found: list[ArtifactAsset] = []
    for text in options.assets:
        try:
            found.append(_asset(flow, text))
        except MalformedOption as error:
            problems.append(error.diagnostic)
    problems += _check_keys(flow, found)
    if problems:
        raise CompileError(problems)
    return tuple(found)


def read_checks(flow: Flow, options: Options) -> tuple[Check, ...]:
    """The checks of artifacts, each with a name of its own.

    Raises
    ------
    CompileError : says all that is wrong with them
    """
    problems: list[Diagnostic] = []
    found: list[Check] = []
    for read, texts in ((_check, options.checks), (_function, options.check_functions)):
        for text in texts:
            try:
                found.append(read(flow, text, [check.name for check in found]))
            except MalformedOption as error:
                problems.append(error.diagnostic)
    if problems:
        raise CompileError(problems)
    return tuple(found)


def _asset(flow: Flow, text: str) -> ArtifactAsset:
    named, equals, key = text.partition("=")
    step, artifact = _artifact(flow, f"--asset {text!r}", named)
    parts = tuple(key.split("/")) if equals else (*_flow_key(flow), step.name, artifact)
    if not all(part.strip() and part.isprintable() for part in parts):
        raise MalformedOption(
            f"--asset {text!r} names no key of an asset.",
            f"Write its parts with slashes between them, as in --asset {named}=ml/{artifact}.",
        )
    return ArtifactAsset(step.name, artifact, parts, enclosing_join(flow, step))


def _flow_key(flow: Flow) -> tuple[str, ...]:
    """What the keys of a flow's artifacts begin with."""
    return (flow.project.name, flow.project.branch, flow.name) if flow.project else (flow.name,)


def _artifact(flow: Flow, option: str, named: str) -> tuple[Step, str]:
    match = _NAMED.fullmatch(named)
    if match is None:
        raise MalformedOption(
            f"{option} does not name an artifact of a step.",
            f"Write STEP.ARTIFACT, such as {flow.steps[0].name}.model.",
        )
    return _step(flow, option, match[1]), match[2]


def _step(flow: Flow, option: str, name: str) -> Step:
    names = [step.name for step in flow.steps]
    if name not in names:
        raise MalformedOption(
            f"{option} is of a step that {flow.name} does not have.",
            f"Its steps are {', '.join(names)}.",
        )
    return flow.step(name)


def _check_keys(flow: Flow, assets: Sequence[ArtifactAsset]) -> Iterator[Diagnostic]:
    keys = [(flow.end_event,), *(asset.key for asset in assets)]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        yield Diagnostic(
            f"Several assets have the key {'/'.join(key)}.", "Give --asset another =KEY."
        )


def _check(flow: Flow, text: str, taken: Sequence[str]) -> ArtifactCheck:
    option = f"--check-artifact {text!r}"
    words = _WORDS.search(text)
    assert words is not None  # it may be empty
    condition = text[: words.start()]
    named = _NAMED.match(condition)
    if named is None:
        raise MalformedOption(
            f"{option} does not name an artifact of a step.",
            "Write it as STEP.ARTIFACT >= 0.8, STEP.ARTIFACT is not None, or "
            "STEP.ARTIFACT is true.",
        )
    step = _step(flow, option, named[1])
    _check_alone(flow, option, step)
    kind, tested = _condition(option, condition[named.end() :].strip())
    name = _free_name(f"{step.name}_{named[2]}_{kind}", taken)
    return ArtifactCheck(
        name, step.name, named[2], tested, "warn" in words[1], "blocking" in words[1]
    )


def _condition(option: str, text: str) -> tuple[str, Comparison | IsNone | IsTrue]:
    """A word for the condition, and what it is."""
    match " ".join(text.split()).lower():
        case "is none":
            return "is_none", IsNone(True)
        case "is not none":
            return "is_not_none", IsNone(False)
        case "is true":
            return "is_true", IsTrue(True)
        case "is false":
            return "is_false", IsTrue(False)
    compared = _COMPARED.fullmatch(text)
    if compared is None:
        raise MalformedOption(
            f"{option} has no condition.",
            f"After the artifact, it takes one of {', '.join(_OPERATORS)} with a value, "
            "`is not None`, or `is true`; then `; warn` or `; blocking`.",
        )
    return _OPERATORS[compared[1]], Comparison(compared[1], _value(option, compared[2]))


def _value(option: str, text: str) -> str | int | float | bool:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, (str, int, float)):
        raise MalformedOption(
            f"{option} compares with {text.strip()!r}, which is no number and no quoted text.",
            "Write it as 'train.accuracy >= 0.8', or 'load.unit == \"EUR\"'.",
        )
    return value


def _function(flow: Flow, text: str, taken: Sequence[str]) -> CheckFunction:
    option = f"--check-function {text!r}"
    match = _FUNCTION.fullmatch(text)
    words = _WORDS.fullmatch(match[4]) if match else None
    if match is None or words is None:
        raise MalformedOption(
            f"{option} does not name a function for a step.",
            "Write it as STEP=MODULE:FUNCTION, such as train=checks:is_calibrated.",
        )
    step = _step(flow, option, match[1])
    _check_alone(flow, option, step)
    name = _free_name(f"{step.name}_{match[3]}", taken)
    return CheckFunction(
        name, step.name, match[2], match[3], "warn" in words[1], "blocking" in words[1]
    )


def _check_alone(flow: Flow, option: str, step: Step) -> None:
    """Refuse a check of a step that has many tasks."""
    if join := enclosing_join(flow, step):
        raise MalformedOption(
            f"{option} is of a step that has a task for each item.",
            f"Check an artifact of {join}, which joins them.",
        )


def _free_name(wish: str, taken: Sequence[str]) -> str:
    names = (wish, *(f"{wish}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def enclosing_join(flow: Flow, step: Step) -> str | None:
    """The step that joins the outermost foreach that a step is in; None if it is in none."""
    around = _foreaches(flow)
    if not around[step.name]:
        return None
    while around[step.name]:  # whatever way it goes on, it comes to the join
        onward = (name for name in targets(step.transition) if name != step.name)
        step = flow.step(next(onward))
    return step.name


def _foreaches(flow: Flow) -> Mapping[str, tuple[str, ...]]:
    """The foreaches and parallel steps around each step, the outermost first."""
    around: dict[str, tuple[str, ...]] = {}
    for step in flow.steps:  # in topological order
        parents = [name for name in step.parents if name in around]
        if not parents:
            around[step.name] = ()
        elif step.joins is not None and _is_many(flow.step(step.joins)):
            around[step.name] = around[step.joins]
        else:
            parent = flow.step(parents[0])
            inside = (parent.name,) if _is_many(parent) else ()
            around[step.name] = (*around[parent.name], *inside)
    return around


def _is_many(step: Step) -> bool:
    """Whether what follows a step runs once an item, or on several nodes."""
    return isinstance(step.transition, (Foreach, Parallel))
