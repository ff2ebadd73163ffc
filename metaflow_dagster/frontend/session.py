"""A flow in Metaflow's command line context, from a command line or without one.

Metaflow resolves configuration, mutators and decorators in the top-level callback of its command
line (`metaflow/cli.py: start`). Under `python flow.py dagster …` that has happened when our
command starts. `library_session` runs the very same callback for a class, on a copy, so that both
ways read the same flow and the caller's class stays as it was.
"""

from __future__ import annotations

import copy
import inspect
import os
import shlex
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from metaflow import FlowMutator, FlowSpec, current, decorators, parameters
from metaflow._vendor import click
from metaflow.flowspec import FlowStateItems
from metaflow.metaflow_config import DEFAULT_DECOSPECS
from metaflow.user_configs.config_options import config_options

from metaflow_dagster.diagnostics import CompileError, Diagnostic, raise_if_any
from metaflow_dagster.frontend.protocols import CliState, FlowObject
from metaflow_dagster.internals.metaflow import MetaflowCurrent, MetaflowDecorating, MetaflowFlow

# Options whose values Metaflow replaces by what it has read from them.
CONFIG_PARAMETERS = ("config", "config_value")

# Options that say how Metaflow talks or are given anew by the generated file, not what is compiled.
_NOT_REPEATED = frozenset({"quiet", "pylint", "local_config_file", "mode", *CONFIG_PARAMETERS})

# The errors of Metaflow's decorators over attributes of which they can make nothing.
STUMBLES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

# The names that `@project` sets in `current` (metaflow/plugins/project_decorator.py).
_SAID_OF_PROJECTS = frozenset(
    {
        "project_name",
        "branch_name",
        "is_user_branch",
        "is_production",
        "project_flow_name",
    }
)


@dataclass(frozen=True, slots=True)
class Session:
    """Metaflow's command line state and the top-level options it was made with.

    `arguments` is the command line as it was given, if there was one.
    """

    state: CliState
    context: Any  # the click context of Metaflow's top-level command
    arguments: tuple[str, ...] = ()

    @property
    def flow_file(self) -> str:
        """Absolute path of the file that runs the flow."""
        return os.path.abspath(self.state.entrypoint[-1])

    def option_value(self, parameter: str) -> Any:
        """The value of a top-level option such as `datastore_root`; None if not given."""
        return self.context.params.get(parameter)

    def given_options(self) -> Iterator[str]:
        """The top-level options that differ from Metaflow's defaults, as `--name=value`."""
        for option in self.context.command.params:
            value = self.context.params.get(option.name)
            if option.name in _NOT_REPEATED or value == option.get_default(self.context):
                continue
            yield from _as_arguments(option, value)
        yield from _config_arguments(self.arguments)

    def decospecs(self) -> Iterator[str]:
        """The decorators that were added to every step, as they were given."""
        yield from self.state.tl_decospecs
        yield from self.state.environment.decospecs() or ()
        yield from DEFAULT_DECOSPECS.split()

    def attach(self, decospecs: Sequence[str]) -> None:
        """Add step decorators, as `--with` of Metaflow's `run` does."""
        if not decospecs:
            return
        flow, state = self.state.flow, self.state
        known = {id(decorator) for step in flow for decorator in _decorators_of(step)}
        with _attaching(decospecs):
            MetaflowDecorating.attach(flow, decospecs)
        MetaflowFlow.new_graph(type(flow))()
        _refuse_mutators(flow, known)
        added = [d for step in flow for d in step.decorators if id(d) not in known]
        for wrapper in (w for step in flow for w in step.wrappers if id(w) not in known):
            wrapper.external_init()
        with _attaching(decospecs):
            MetaflowDecorating.process(
                sorted({decorator.name for decorator in added}),
                flow,
                MetaflowFlow.graph(flow),
                state.environment,
                state.flow_datastore,
                state.logger,
            )
        state.graph = MetaflowFlow.graph(flow)
        state.tl_decospecs.extend(decospecs)


@contextmanager
def _attaching(decospecs: Sequence[str]) -> Iterator[None]:
    """Say which specifications are at fault when decorators stumble over their attributes."""
    try:
        yield
    except STUMBLES as error:
        options = " ".join(f"--with {shlex.quote(spec)}" for spec in decospecs)
        raise CompileError(
            [
                Diagnostic(
                    f"Metaflow cannot add {options}: {type(error).__name__}: {error}.",
                    "Write decorators as --with NAME or --with NAME:ATTRIBUTE=VALUE.",
                )
            ]
        ) from error


def _refuse_mutators(flow: FlowObject, known: set[int]) -> None:
    """Mutators act when Metaflow's command line starts, which has happened already."""
    late = {m.decorator_name for step in flow for m in step.config_decorators if id(m) not in known}
    raise_if_any(
        Diagnostic(
            f"--with {name} is a mutator, which has to be known before the command starts.",
            f"Give it as a top-level option: python FLOW.py --with {name} dagster create.",
        )
        for name in sorted(late)
    )


def _decorators_of(step: Any) -> Iterator[Any]:
    yield from step.decorators
    yield from step.wrappers
    yield from step.config_decorators


def _as_arguments(option: Any, value: Any) -> Iterator[str]:
    if value is None or value == ():
        return
    if isinstance(value, bool):
        yield (option.opts if value else option.secondary_opts)[0]
        return
    for item in value if isinstance(value, (tuple, list)) else (value,):
        yield f"{option.opts[0]}={item}"


def _config_arguments(arguments: tuple[str, ...]) -> Iterator[str]:
    """The `--config` and `--config-value` options of a command line, with name and value each."""
    for index, argument in enumerate(arguments):
        if argument.lstrip("-").replace("-", "_") in CONFIG_PARAMETERS and argument[:2] == "--":
            yield from arguments[index : index + 3]


def flow_class(flow: object) -> type:
    """The class of a flow as imported; `TypeError` if it is none.

    Under a flow mutator without parentheses, the module's name is the mutator around the class
    (metaflow/user_decorators/user_flow_decorator.py).
    """
    inner = MetaflowFlow.mutated(flow) if isinstance(flow, FlowMutator) else flow
    if isinstance(inner, type) and issubclass(inner, FlowSpec) and inner is not FlowSpec:
        return inner
    raise TypeError(f"synthesize takes a subclass of metaflow.FlowSpec, not {flow!r}")


@contextmanager
def library_session(flow_cls: type) -> Iterator[Session]:
    """A session for a flow class that was imported, as if its file had been run."""
    from metaflow import cli

    flow_copy = _copy_of(flow_cls)
    with parameters.flow_context(flow_copy), _current_of_its_own():
        state = cli.CliState(flow_copy(use_cli=False))
        state.entrypoint = [sys.executable, inspect.getfile(flow_cls)]
        command = copy.copy(cli.start)
        command.params = [
            parameter for parameter in command.params if parameter.name not in CONFIG_PARAMETERS
        ]
        decorators.add_decorator_options(config_options(command))
        # The command to run after the callback is one that is neither `run` nor `step`.
        with _startup_errors_shown():
            context = command.make_context(
                flow_cls.__name__, ["--quiet", "dagster"], obj=state, auto_envvar_prefix="METAFLOW"
            )
        context.saved_args = ["dagster"]
        context.invoked_subcommand = "dagster"
        try:
            with context:
                with _startup_errors_shown():
                    click.Command.invoke(command, context)
                yield Session(state, context)
        finally:
            for sidecar in ("monitor", "event_logger"):
                if getattr(state, sidecar, None) is not None:
                    getattr(state, sidecar).terminate()


@contextmanager
def _startup_errors_shown() -> Iterator[None]:
    """Say what Metaflow stumbles over when it starts a flow, as `CompileError`."""
    try:
        yield
    except click.ClickException as error:  # such as a Config that cannot be read
        raise CompileError([Diagnostic(error.format_message(), "")]) from error
    except STUMBLES as error:
        raise CompileError(
            [
                Diagnostic(
                    f"Metaflow cannot start the flow ({type(error).__name__}: {error}).",
                    "Look at the attributes of its decorators, and at its Configs.",
                )
            ]
        ) from error


@contextmanager
def _current_of_its_own() -> Iterator[None]:
    """Keep what decorators say by `current` to a session, and what it says of others out of it.

    Metaflow makes each such thing a property of the class (metaflow_current.py: `_update_env`).
    """
    kind = type(current)
    before = dict(vars(kind))
    MetaflowCurrent.update(current, dict.fromkeys(_SAID_OF_PROJECTS))
    try:
        yield
    finally:
        for name in vars(kind).keys() - before.keys():
            delattr(kind, name)
        for name in _SAID_OF_PROJECTS & before.keys():
            setattr(kind, name, before[name])


def _copy_of(flow_cls: type) -> Any:
    """A subclass that is the same flow, with steps, decorators and parameters of its own."""
    namespace: dict[str, Any] = {
        "__module__": flow_cls.__module__,
        "__qualname__": flow_cls.__qualname__,
        "__doc__": flow_cls.__doc__,
    }
    for attribute in dir(flow_cls):
        value = inspect.getattr_static(flow_cls, attribute)
        if isinstance(value, types.FunctionType) and hasattr(value, "is_step"):
            namespace[attribute] = _copy_of_step(value)
        elif isinstance(value, parameters.Parameter):
            namespace[attribute] = _copy_of_parameter(value)
    twin: Any = type(flow_cls)(flow_cls.__name__, (flow_cls,), namespace)
    inherited = MetaflowFlow.state(twin).inherited_data
    inherited[FlowStateItems.FLOW_DECORATORS] = {
        name: [_copy_of_flow_decorator(decorator) for decorator in given]
        for name, given in inherited.get(FlowStateItems.FLOW_DECORATORS, {}).items()
    }
    return twin


def _copy_of_parameter(parameter: parameters.Parameter) -> parameters.Parameter:
    # Without `copy`, whose questions a Config answers with questions to itself.
    twin = object.__new__(type(parameter))
    twin.__dict__.update(parameter.__dict__, kwargs=dict(parameter.kwargs))
    return twin


def _copy_of_step(function: types.FunctionType) -> types.FunctionType:
    step = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    step.__kwdefaults__ = function.__kwdefaults__
    step.__doc__ = function.__doc__
    step.__dict__.update(function.__dict__)
    for kind in ("decorators", "wrappers", "config_decorators"):
        setattr(
            step, kind, [_copy_of_decorator(decorator) for decorator in getattr(function, kind)]
        )
    return step


def _copy_of_flow_decorator(decorator: Any) -> Any:
    # @trigger overwrites what are the command line options of decorators with its own, when a flow
    # is read (metaflow/plugins/events_decorator.py: flow_init).
    twin = _copy_of_decorator(decorator)
    vars(twin).pop("options", None)
    return twin


def _copy_of_decorator(decorator: Any) -> Any:
    twin = copy.copy(decorator)
    if hasattr(decorator, "attributes"):
        twin.attributes = dict(decorator.attributes)
    return twin
