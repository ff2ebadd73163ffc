"""Checks of the options of a compilation that need no flow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from keyword import iskeyword

from typing_extensions import assert_never

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.executors import NAMED, ImportedExecutor, OwnExecutor, find_executor
from metaflow_dagster.names import is_dagster_name, is_run_id
from metaflow_dagster.options import RUNTIMES, Options, automation_of, pool_pairs, starts_warm

# metaflow/tagging_util.py: MAX_TAG_SIZE and MAX_USER_TAG_SET_SIZE
MAX_TAG_LENGTH = 500
MAX_TAGS = 50

LONGEST_SPEC = 30_000  # characters, each of which may be four bytes of the 128 KiB of an argument
MAXIMUM = 10**9  # seconds or workers: what threads and Dagster take

# dagster/_core/definitions/utils.py: is_valid_owner
_OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")

_POOL = re.compile(r"\S+")  # dagster/_core/definitions/op_definition.py: VALID_POOL_NAME_REGEX_STR


def check_options(options: Options) -> Iterator[Diagnostic]:
    """Check the options by themselves, without a flow."""
    if options.name is not None and not is_dagster_name(options.name):
        yield Diagnostic(
            f"--name {options.name!r} is not a name Dagster takes for a job.",
            "Use letters, digits and underscores, and no reserved word such as 'config'.",
        )
    for tag in options.tags:
        yield from _check_tag(tag)
    for spec in options.decospecs:
        yield from _check_decospec(spec)
    if len(set(options.tags)) > MAX_TAGS:
        yield Diagnostic(
            f"There are {len(set(options.tags))} tags.",
            f"Metaflow takes up to {MAX_TAGS} a run: leave out some --tag.",
        )
    if options.namespace:
        yield from _check_namespace(options.namespace)
    if options.origin_run_id is not None and not is_run_id(options.origin_run_id):
        yield Diagnostic(
            f"--origin-run-id {options.origin_run_id!r} is not the id of a run that Dagster made.",
            "Give one such as dagster-0123456789ab; runs of Metaflow's own scheduler are resumed "
            "with python FLOW.py resume.",
        )
    for option, value in (
        ("--workflow-timeout", options.workflow_timeout),
        ("--max-workers", options.max_workers),
    ):
        if value is not None and value < 1:
            yield Diagnostic(f"{option} {value} is too small.", "Give a whole number from 1 up.")
        elif value is not None and value > MAXIMUM:
            yield Diagnostic(f"{option} is too large.", f"Give a number of {MAXIMUM} at most.")
    yield from _check_asset(options)
    yield from _check_runtime(options)
    yield from _check_pools(options)
    yield from _check_executor(options)


def _check_asset(options: Options) -> Iterator[Diagnostic]:
    for owner in options.owners:
        yield from _check_owner(owner)
    for key in options.upstream:
        yield from _check_key("--upstream", key)
    if options.automation is not None:
        yield from _check_automation(options, options.automation)


def _check_automation(options: Options, condition: str) -> Iterator[Diagnostic]:
    if not options.as_assets:
        yield Diagnostic(
            f"--automation {condition} says nothing here: Dagster does not materialize the asset.",
            "Give --assets as well, or leave it out.",
        )
    if automation_of(condition) is None:
        yield Diagnostic(
            f"--automation {condition!r} is unknown.",
            "Give eager, on_missing, or on_cron with the five fields of a cron expression, such "
            "as --automation 'on_cron 0 6 * * *'.",
        )


def _check_owner(owner: str) -> Iterator[Diagnostic]:
    if not _OWNER.fullmatch(owner):
        yield Diagnostic(
            f"--owner {owner!r} is not an owner that Dagster takes.",
            "Give an email address, or a team such as team:search.",
        )


def _check_key(option: str, key: str) -> Iterator[Diagnostic]:
    if not _is_printable(key) or not all(key.split("/")):
        yield Diagnostic(
            f"{option} {key!r} is not the key of an asset.",
            f"Write its parts with slashes between them, as in {option} warehouse/orders.",
        )


def _check_runtime(options: Options) -> Iterator[Diagnostic]:
    if options.runtime is not None and options.runtime not in RUNTIMES:
        yield Diagnostic(
            f"--runtime {options.runtime!r} is unknown.", f"Choose one of {', '.join(RUNTIMES)}."
        )


def _check_pools(options: Options) -> Iterator[Diagnostic]:
    pairs = pool_pairs(options)
    steps = [step for step, _ in pairs]
    for step, name in pairs:
        if not _POOL.fullmatch(name) or not _is_printable(name):
            yield Diagnostic(
                f"--pool {name!r} is not a name Dagster takes for a pool.",
                "Give a name without blanks, such as --pool gpu, or --pool train=gpu for one step.",
            )
        if steps.count(step) > 1:
            yield Diagnostic(
                f"There is more than one --pool for {step or 'all steps'}.",
                "Leave all but one out: an op takes a slot of one pool.",
            )


def _check_executor(options: Options) -> Iterator[Diagnostic]:
    match find_executor(options.executor):
        case None:
            yield Diagnostic(
                f"--executor {options.executor!r} is unknown.",
                f"Choose one of {', '.join(NAMED)}, or name one of your own as module:attribute.",
            )
        case OwnExecutor("in_process") if options.max_workers is not None:
            yield Diagnostic(
                "--max-workers does not go with --executor in_process, which runs one step at a "
                "time.",
                "Leave one of them out.",
            )
        case ImportedExecutor(has_limit=False) if options.max_workers is not None:
            yield Diagnostic(
                f"--max-workers does not go with --executor {options.executor}, whose own "
                "configuration says how much runs at once.",
                "Leave it out; Celery's workers have --concurrency, and ops can share a --pool.",
            )
        case OwnExecutor() | ImportedExecutor():
            pass
        case unknown:
            assert_never(unknown)
    yield from _check_warm_steps(options)
    yield from _check_preload(options)


def _check_warm_steps(options: Options) -> Iterator[Diagnostic]:
    if options.warm_steps and options.executor not in (None, "threads"):
        yield Diagnostic(
            f"--warm-steps does not go with --executor {options.executor}: the processes of steps "
            "are forked from one that the process of the run has started.",
            "Use --executor threads, or leave out --warm-steps.",
        )
    if options.fresh_steps and not starts_warm(options):
        yield Diagnostic(
            f"--fresh-step {options.fresh_steps[0]} says nothing here: all steps start a Python.",
            "Leave it out.",
        )


def _check_preload(options: Options) -> Iterator[Diagnostic]:
    for name in options.preload:
        if not all(part.isidentifier() and not iskeyword(part) for part in name.split(".")):
            yield Diagnostic(
                f"--preload {name!r} is not a name of a module.",
                "Give one as an import statement has it, such as --preload pandas, or --preload "
                "auto for all that the flow's file imports at its top level.",
            )
    if options.preload and not starts_warm(options):
        yield Diagnostic(
            f"--preload {options.preload[0]} says nothing here: it is for the process from which "
            "those of steps are forked, and there is none.",
            "Use --executor threads without --no-warm-steps, or leave out --preload.",
        )


def _check_tag(tag: str) -> Iterator[Diagnostic]:
    if not _is_printable(tag):
        yield Diagnostic(
            f"--tag {tag!r} is malformed.",
            "A tag is printable text that is not blank, such as --tag team:search.",
        )
    elif len(tag) > MAX_TAG_LENGTH:
        yield Diagnostic(
            f"--tag {tag[:20]!r}… has {len(tag)} characters.",
            f"Metaflow keeps tags of up to {MAX_TAG_LENGTH} characters.",
        )


def _check_namespace(namespace: str) -> Iterator[Diagnostic]:
    if len(namespace) > MAX_TAG_LENGTH:
        yield Diagnostic(
            f"--namespace {namespace[:20]!r}… has {len(namespace)} characters.",
            f"A namespace is a tag, and Metaflow keeps those of up to {MAX_TAG_LENGTH}.",
        )
    elif not _is_printable(namespace):
        yield Diagnostic(
            f"--namespace {namespace!r} is malformed.",
            "A namespace is printable text that is not blank, such as --namespace user:ann.",
        )


def _check_decospec(spec: str) -> Iterator[Diagnostic]:
    try:
        is_argument = len(spec) < LONGEST_SPEC and b"\0" not in os.fsencode(spec)
    except UnicodeEncodeError:
        is_argument = False
    if not is_argument:
        yield Diagnostic(
            f"--with {spec[:20]!r}… cannot be an argument of a command, which steps get it by.",
            "Remove the characters that are not text, or put the decorator into the flow.",
        )


def check_token(token: str) -> Iterator[Diagnostic]:
    """Why a token cannot be a job's production token, which Metaflow makes a tag of."""
    if not _is_printable(token) or len(f"production:{token}") > MAX_TAG_LENGTH:
        yield Diagnostic(
            f"--new-token {token[:20]!r} is malformed.",
            "A production token is printable text that is not blank, such as scores-2025.",
        )


def _is_printable(text: str) -> bool:
    """Whether the text is not blank, has no control characters and can be encoded."""
    control_or_surrogate = re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)
    return bool(text.strip()) and control_or_surrogate is None
