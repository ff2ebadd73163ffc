"""The options of a compilation: what they are called, what they mean, and where they apply."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, get_args

from metaflow_dagster.executors import NAMED

# dagster/_utils/tags.py: VALID_TAG_KEY_REGEX, without the prefix by which Dagster marks its own.
_TAG_KEY = re.compile(r"[A-Za-z0-9_.-]{1,63}")

_CRON_FIELDS: Final = 5  # which Dagster takes

RuntimeName: TypeAlias = Literal["inline", "shared", "installed"]
AUTO: Final = "auto"  # --preload, for what a flow's file imports
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)


class Surface(Enum):
    """Where people give options."""

    CREATE = "dagster create"
    LOCATION = "metaflow-dagster create"
    LIBRARY = "synthesize"
    DEPLOYER = "Deployer"
    COMPONENT = "MetaflowFlowComponent"


EVERYWHERE: Final = frozenset(Surface)


@dataclass(frozen=True, slots=True)
class Flag:
    """An option as people see it.

    `name` is that on the command line, `opposite` the one that says no where there is a default
    for either, `metavar` stands for a value of it, `page` is the documentation that tells more.
    `surfaces` are where it can be given.
    """

    name: str
    help: str
    opposite: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    page: str | None = None
    surfaces: frozenset[Surface] = EVERYWHERE


def _option(default: Any, name: str, text: str, **more: Any) -> Any:
    """A field of `Options` with its flag."""
    return field(default=default, metadata={"flag": Flag(name, text, **more)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a compilation: each is defined here alone.

    The commands, `synthesize`, Metaflow's Deployer, the component and the tables in the
    documentation are made from the fields: a bool is a flag, a sequence can be given repeatedly.
    """

    name: str | None = _option(
        None,
        "--name",
        "Name of the Dagster job; not for @project. [default: the flow's name]",
        metavar="NAME",
        # Several flows cannot have one name; the Deployer takes it for all that it does.
        surfaces=EVERYWHERE - {Surface.LOCATION, Surface.DEPLOYER},
    )
    tags: Sequence[str] = _option(
        (),
        "--tag",
        "Tag every run with this; key:value is a tag of the run in Dagster, too.",
        metavar="TAG",
    )
    decospecs: Sequence[str] = _option(
        (), "--with", "Add a decorator to every step, such as retry:times=3.", metavar="SPEC"
    )
    namespace: str | None = _option(
        None, "--namespace", "Metaflow namespace of the steps.", metavar="NS"
    )
    workflow_timeout: int | None = _option(
        None, "--workflow-timeout", "Seconds after which a run is stopped.", metavar="SECONDS"
    )
    max_workers: int | None = _option(
        None,
        "--max-workers",
        "How many steps of a run may run at once. [default: the number of CPUs]",
        metavar="N",
    )
    executor: str | None = _option(
        None,
        "--executor",
        "Where ops run: in threads of the run's process, in processes of their own (multiprocess), "
        "one after the other in the run's process (in_process), or elsewhere; one of "
        f"{', '.join(NAMED)}, or module:attribute. [default: threads]",
        metavar="NAME",
        page="executors.md",
    )
    warm_steps: bool | None = _option(
        None,
        "--warm-steps",
        "Fork the processes of steps from one that has imported Metaflow, instead of starting a "
        "Python for each. [default: yes, with --executor threads on Linux]",
        opposite="--no-warm-steps",
        page="semantics.md#warm-steps",
    )
    fresh_steps: Sequence[str] = _option(
        (),
        "--fresh-step",
        "Start a Python for each task of this step, as for a library that does not survive a fork.",
        metavar="STEP",
        page="semantics.md#warm-steps",
    )
    preload: Sequence[str] = _option(
        (),
        "--preload",
        "Import a module once a run, in the process from which those of steps are forked; "
        "auto: all modules of others that the flow's file imports at its top level.",
        metavar="MODULE|auto",
        page="semantics.md#modules-that-are-imported-once",
    )
    pools: Sequence[str] = _option(
        (),
        "--pool",
        "Run all steps, or one, in a Dagster concurrency pool.",
        metavar="[STEP=]NAME",
    )
    workflow_priority: int | None = _option(
        None,
        "--workflow-priority",
        "Which of the runs in Dagster's queue start first: those of the highest number. "
        "[default: 0]",
        metavar="N",
    )
    partitions: Sequence[str] = _option(
        (),
        "--partition",
        "Partition the runs: the key of a run's partition is the value of this parameter. "
        "PARTITIONS are daily:2026-01-01 (or hourly, weekly, monthly), static:eu,us, or dynamic. "
        "Twice for two dimensions.",
        metavar="PARAMETER=PARTITIONS",
        page="assets.md#partitions",
        surfaces=EVERYWHERE - {Surface.LOCATION},  # a parameter is one of a single flow
    )
    owners: Sequence[str] = _option(
        (),
        "--owner",
        "An owner of the flow's asset: an email address, or team:NAME.",
        metavar="OWNER",
        page="assets.md",
    )
    assets: Sequence[str] = _option(
        (),
        "--asset",
        "An artifact that is an asset of its own, materialized when its step has succeeded. KEY "
        "has slashes between its parts. [default: FLOW/STEP/ARTIFACT]",
        metavar="STEP.ARTIFACT[=KEY]",
        page="assets.md#artifacts-as-assets",
        surfaces=EVERYWHERE - {Surface.LOCATION},  # a step is one of a single flow
    )
    checks: Sequence[str] = _option(
        (),
        "--check-artifact",
        "A check of an artifact: 'train.accuracy >= 0.8', 'load.rows is not None', "
        "'test.passed is true'; then '; warn' or '; blocking'.",
        metavar="CONDITION",
        page="assets.md#checks",
        surfaces=EVERYWHERE - {Surface.LOCATION},
    )
    check_functions: Sequence[str] = _option(
        (),
        "--check-function",
        "A check by a function that gets the pathspec of the step's task; then ';warn' or "
        "';blocking'.",
        metavar="STEP=MODULE:FUNCTION",
        page="assets.md#checks",
        surfaces=EVERYWHERE - {Surface.LOCATION},
    )
    as_assets: bool = _option(
        False,
        "--assets",
        "Let Dagster itself materialize the flow's asset and those of its artifacts: from their "
        "pages, by automation conditions, in backfills of the asset graph.",
        page="assets.md#assets-that-dagster-materializes",
    )
    automation: str | None = _option(
        None,
        "--automation",
        "With --assets: when Dagster materializes the flow's asset by itself. One of eager, "
        "on_missing, or on_cron and a cron expression, such as 'on_cron 0 6 * * *'.",
        metavar="CONDITION",
        page="assets.md#assets-that-dagster-materializes",
    )
    upstream: Sequence[str] = _option(
        (),
        "--upstream",
        "An asset that the flow's asset depends on, such as one of dbt's: its key, with slashes.",
        metavar="KEY",
        page="assets.md#upstream-assets",
    )
    package: bool = _option(
        False,
        "--package",
        "Store the flow's code in the datastore, for machines that have no copy of it.",
        page="executors.md#code-packages",
        surfaces=EVERYWHERE - {Surface.COMPONENT},  # which stores nothing
    )
    origin_run_id: str | None = _option(
        None,
        "--origin-run-id",
        "Resume this run of Dagster's (dagster-…) in every run: what finished is not run again.",
        metavar="RUN",
        surfaces=EVERYWHERE - {Surface.LOCATION},  # a run is one of a single flow
    )
    notify_on_error: bool = _option(
        False,
        "--notify-on-error",
        "Tell a webhook when a run has failed: METAFLOW_DAGSTER_WEBHOOK_URL, in the environment "
        "where Dagster loads the definitions.",
        page="events.md#notices",
    )
    notify_on_success: bool = _option(
        False,
        "--notify-on-success",
        "Tell the same webhook when a run has succeeded.",
        page="events.md#notices",
    )
    runtime: RuntimeName | None = _option(
        None,
        "--runtime",
        "How the runtime gets to the generated file: it holds what it uses (inline), imports "
        "_metaflow_runtime.py beside it (shared), or this package (installed). [default: inline; "
        "for several flows shared]",
        choices=RUNTIMES,
        page="create.md#the-runtime",
        surfaces=EVERYWHERE - {Surface.COMPONENT},  # which is installed
    )

    def __post_init__(self) -> None:
        """Raise a `TypeError` for what no command line gives."""
        for option in fields(Options):
            value = getattr(self, option.name)
            match option.default:
                case ():
                    object.__setattr__(self, option.name, _texts(option.name, value))
                case False if type(value) is not bool:
                    raise TypeError(f"{option.name} takes True or False, not {value!r}")
                case None if value is not None and type(value) is not kind_of(option):
                    kind = kind_of(option).__name__
                    raise TypeError(f"{option.name} takes {kind} or None, not {value!r}")


def flag_of(option: Field[Any]) -> Flag:
    """How people see a field of `Options`."""
    flag: Flag = option.metadata["flag"]
    return flag


def options_of(surface: Surface) -> list[Field[Any]]:
    """The options that can be given somewhere."""
    return [option for option in fields(Options) if surface in flag_of(option).surfaces]


def kind_of(option: Field[Any]) -> type:
    """The type of one value of an option."""
    if "bool" in str(option.type):
        return bool
    return int if "int" in str(option.type) else str


def starts_warm(options: Options) -> bool:
    """Whether the processes of steps are forked; only the threads executor can."""
    return options.executor in (None, "threads") and options.warm_steps is not False


def _texts(name: str, values: object) -> tuple[str, ...]:
    """The values of a repeatable option."""
    if isinstance(values, str):
        raise TypeError(f"{name} takes a sequence of strings, not one string: [{values!r}]")
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} takes a sequence of strings, and {values!r} is none")
    texts = tuple(values)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} takes a sequence of strings, and {values!r} is none")
    return texts


def preloaded(options: Options, imports: Sequence[str]) -> Sequence[str]:
    """The modules to import once a run, of a flow whose file imports some at its top level."""
    named = [[*imports] if module == AUTO else [module] for module in options.preload]
    return [*dict.fromkeys(name for names in named for name in names)]


def automation_of(condition: str) -> tuple[str, str | None] | None:
    """The method of Dagster's `AutomationCondition`, and its cron expression; None if unknown."""
    match condition.split():
        case [("eager" | "on_missing") as name]:
            return name, None
        case ["on_cron", *fields] if len(fields) == _CRON_FIELDS:
            return "on_cron", " ".join(fields)
        case _:
            return None


def pool_of(options: Options, step: str) -> str | None:
    """The pool that the op of a step takes a slot of."""
    pools = dict(pool_pairs(options))
    return pools.get(step, pools.get(None))


def pooled_steps(options: Options) -> Iterator[str]:
    """The steps for which a pool is given by their names."""
    return (step for step, _ in pool_pairs(options) if step is not None)


def pool_names(options: Options) -> Iterator[str]:
    """The pools that ops take slots of, each once."""
    return iter(dict.fromkeys(name for _, name in pool_pairs(options)))


def pool_pairs(options: Options) -> list[tuple[str | None, str]]:
    """The step of each `--pool`, None if it is for all of them, and the pool's name."""
    return [_pool(option) for option in options.pools]


def _pool(option: str) -> tuple[str | None, str]:
    step, equals, name = option.partition("=")
    return (step, name) if equals else (None, option)


def run_tags(options: Options) -> Mapping[str, str]:
    """The Metaflow tags as Dagster has them: `key:value`, or the tag itself with the value "true".

    Those whose key is not one that Dagster takes are Metaflow's alone.
    """
    pairs = ((key, value if colon else "true") for key, colon, value in _split(options.tags))
    return {key: value for key, value in pairs if _TAG_KEY.fullmatch(key)}


def _split(tags: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return (tag.partition(":") for tag in tags)


def given(options: Options) -> Iterator[tuple[str, ...]]:
    """The options that were given, as the command line has them: `--name`, and value if any."""
    for option in fields(Options):
        name, value = flag_of(option).name, getattr(options, option.name)
        match value:
            case False if opposite := flag_of(option).opposite:
                yield (opposite,)
            case None | False:
                pass
            case True:
                yield (name,)
            case tuple():
                yield from ((name, text) for text in value)
            case _:
                yield name, str(value)
