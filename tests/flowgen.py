"""Random flows: an abstract tree of a flow, its source text, and strategies that draw both.

A `FlowTree` says what a flow looks like, a `Play` what happens when it runs: how many items a
foreach has, which case a switch chooses. Both the source text and the reference interpreter
(`tests/trace.py`) are made from these, neither knows of the compiler.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from typing_extensions import assert_never

Key: TypeAlias = "str | int | float"
Indices: TypeAlias = tuple[int, ...]
MOST_TURNS = 3  # of a recursive step
DEEP = 25  # times the examples of a default run that HYPOTHESIS_PROFILE=deep tries


@dataclass(frozen=True)
class Opening:
    """The step that opens a split or a foreach, or several with a switch step to choose one."""

    heads: tuple[str, ...]
    selector: str | None = None

    @property
    def entry(self) -> str:
        return self.selector or self.heads[0]


@dataclass(frozen=True)
class Plain:
    """A step that leads to the next."""

    name: str


@dataclass(frozen=True)
class Branches:
    """A split, its branches and their join."""

    opening: Opening
    branches: tuple[Body, ...]
    join: str


@dataclass(frozen=True)
class Loop:
    """A foreach, its body and their join."""

    opening: Opening
    body: Body
    join: str


@dataclass(frozen=True)
class Nodes:
    """A step on several nodes at once, and its join."""

    opening: Opening
    step: str
    count: int
    join: str


@dataclass(frozen=True)
class Case:
    """A case of a switch; one that `falls` leads to the next case and not to what follows."""

    keys: tuple[Key, ...]
    body: Body
    falls: bool = False


@dataclass(frozen=True)
class Choice:
    """A switch; `again` is the key with which it chooses itself."""

    name: str
    cases: tuple[Case, ...]
    again: Key | None = None


Node: TypeAlias = Plain | Branches | Loop | Nodes | Choice
Body: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True)
class ParameterText:
    """A parameter: the name the user gives it, and its arguments as source text."""

    name: str
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Play:
    """What happens in a run, drawn from a few numbers by step, foreach indices and repetition."""

    numbers: tuple[int, ...] = (0,)

    def _drawn(self, step: str, indices: Indices, turn: int, bound: int) -> int:
        place = zlib.crc32(f"{step}{indices}{turn}".encode())
        return self.numbers[place % len(self.numbers)] % bound

    def items(self, step: str, indices: Indices) -> int:
        """How many items the foreach of a step has."""
        return 1 + self._drawn(step, indices, 0, 3 if len(indices) < 2 else 2)

    def repeats(self, step: str, indices: Indices, turn: int) -> bool:
        """Whether a recursive step chooses itself."""
        return turn < MOST_TURNS and bool(self._drawn(step, indices, turn, 2))

    def choice(self, step: str, indices: Indices, turn: int, bound: int) -> int:
        """Which of its cases a switch chooses."""
        return self._drawn(step, indices, turn, bound)


@dataclass(frozen=True)
class FlowTree:
    """A flow; one of a single step has no `body` and its `end` is its start too."""

    name: str
    body: Body
    end: str
    doc: str = ""
    docs: tuple[str, ...] = ("",)
    parameters: tuple[ParameterText, ...] = ()
    play: Play = Play()

    @property
    def start(self) -> str:
        return entry(self.body, self.end)


@dataclass(frozen=True)
class Linear:
    target: str


@dataclass(frozen=True)
class Fan:
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Each:
    target: str


@dataclass(frozen=True)
class OnNodes:
    target: str
    count: int


@dataclass(frozen=True)
class Cases:
    targets: tuple[tuple[Key, str], ...]
    again: Key | None


Next: TypeAlias = Linear | Fan | Each | OnNodes | Cases | None


@dataclass(frozen=True)
class StepText:
    """One step of a flow, ready to be written."""

    name: str
    next: Next
    is_join: bool = False
    is_parallel: bool = False
    joins_foreach: bool = False


def entry(body: Body, after: str) -> str:
    """The first step of a body, or the one after it if it is empty."""
    if not body:
        return after
    match body[0]:
        case Plain(name) | Choice(name):
            return name
        case Branches(opening) | Loop(opening) | Nodes(opening):
            return opening.entry
        case _:
            assert_never(body[0])


def case_entries(cases: Sequence[Case], after: str) -> tuple[str, ...]:
    """The first step of each case."""
    entries: list[str] = []
    for case in reversed(cases):
        behind = entries[-1] if case.falls else after
        entries.append(entry(case.body, behind))
    return tuple(reversed(entries))


def steps(tree: FlowTree) -> list[StepText]:
    """The steps of a flow."""
    return [*_steps(tree.body, tree.end), StepText(tree.end, None)]


def outside_foreaches(tree: FlowTree) -> Iterator[str]:
    """The steps that are in no foreach."""
    inside = {step.name for body in _loops(tree.body) for step in _steps(body, "")}
    return (step.name for step in steps(tree) if step.name not in inside)


def _loops(body: Body) -> Iterator[Body]:
    """The bodies of foreaches in a body."""
    for node in body:
        match node:
            case Loop(_, inner):
                yield inner
            case Branches(_, branches):
                for branch in branches:
                    yield from _loops(branch)
            case Choice(_, cases):
                for case in cases:
                    yield from _loops(case.body)
            case Plain() | Nodes():
                pass
            case _:
                assert_never(node)


def edges_of(texts: Sequence[StepText]) -> set[tuple[str, str]]:
    """The pairs of steps of which one leads to the other, loops left out."""
    return {
        (step.name, target)
        for step in texts
        for target in _targets(step.next)
        if target != step.name
    }


def _targets(following: Next) -> tuple[str, ...]:
    match following:
        case Linear(target) | Each(target) | OnNodes(target):
            return (target,)
        case Fan(targets):
            return targets
        case Cases(cases):
            return tuple(target for _, target in cases)
        case None:
            return ()
        case _:
            assert_never(following)


def _steps(body: Body, after: str) -> Iterator[StepText]:
    for index, node in enumerate(body):
        yield from _steps_of(node, entry(body[index + 1 :], after))


def _steps_of(node: Node, after: str) -> Iterator[StepText]:
    match node:
        case Plain(name):
            yield StepText(name, Linear(after))
        case Branches(opening, branches, join):
            yield from _opening(opening, Fan(tuple(entry(each, join) for each in branches)))
            for branch in branches:
                yield from _steps(branch, join)
            yield StepText(join, Linear(after), is_join=True)
        case Loop(opening, body, join):
            yield from _opening(opening, Each(entry(body, join)))
            yield from _steps(body, join)
            yield StepText(join, Linear(after), is_join=True, joins_foreach=True)
        case Nodes(opening, step, count, join):
            yield from _opening(opening, OnNodes(step, count))
            yield StepText(step, Linear(join), is_parallel=True)
            yield StepText(join, Linear(after), is_join=True)
        case Choice(name, cases, again):
            entries = case_entries(cases, after)
            pairs = [
                (key, target)
                for case, target in zip(cases, entries, strict=True)
                for key in case.keys
            ]
            yield StepText(name, Cases(tuple(pairs), again))
            for index, case in enumerate(cases):
                yield from _steps(case.body, entries[index + 1] if case.falls else after)
        case _:
            assert_never(node)


def _opening(opening: Opening, following: Next) -> Iterator[StepText]:
    if opening.selector:
        yield StepText(opening.selector, Cases(tuple(enumerate(opening.heads)), None))
    for head in opening.heads:
        yield StepText(head, following)


@dataclass(frozen=True)
class Stumble:
    """A task that fails as long as there is no file `go`, by step, indices and repetition.

    The last index of a node of a parallel step is its number. A flow with a stumble notes each
    task that begins in the file `ran`: the run id and these three, as JSON.
    """

    step: str
    indices: Indices
    turn: int = 0


_PRELUDE = """\
import zlib

import metaflow as _mf

_NUMBERS = {numbers!r}


def _drawn(step, indices, turn, bound):
    place = zlib.crc32(f"{{step}}{{indices}}{{turn}}".encode())
    return _NUMBERS[place % len(_NUMBERS)] % bound


def _indices(flow):
    return tuple(frame.index for frame in getattr(flow, "_foreach_stack", None) or ())


def _seen(flow, step):
    _stumble(flow, step)
    flow.trail = (*getattr(flow, "trail", ()), (step, _indices(flow)))


def _joined(flow, step, inputs, in_order):
    _stumble(flow, step)
    trails = [one.trail for one in inputs]
    flow.trail = ((step, trails if in_order else sorted(trails, key=repr)),)


def _items(flow, step):
    indices = _indices(flow)
    return list(range(1 + _drawn(step, indices, 0, 3 if len(indices) < 2 else 2)))


def _chosen(flow, step, keys, *again):
    indices = _indices(flow)
    turn = getattr(flow, "turn_" + step, -1) + 1
    setattr(flow, "turn_" + step, turn)
    if again and turn < {most_turns} and _drawn(step, indices, turn, 2):
        return again[0]
    return keys[_drawn(step, indices, turn, len(keys))]
"""


_NO_STUMBLE = """\


def _stumble(flow, step):
    pass
"""

_STUMBLE = """\


def _stumble(flow, step):
    import json, os
    place = (step, _indices(flow), getattr(flow, "turn_" + step, -1) + 1)
    with open("ran", "a") as file:
        file.write(json.dumps([_mf.current.run_id, *place]) + "\\n")
    if place == {place!r} and not os.path.exists("go"):
        raise ValueError("stumbled")
"""


def source(tree: FlowTree, stumble: Stumble | None = None) -> str:
    """The text of a file that runs the flow."""
    return file_text(tree, steps(tree), stumble)


def file_text(tree: FlowTree, texts: Sequence[StepText], stumble: Stumble | None = None) -> str:
    """The text of a file that runs the flow, made of these steps."""
    prelude = _PRELUDE.format(numbers=tree.play.numbers, most_turns=MOST_TURNS)
    prelude += _STUMBLE.format(place=astuple(stumble)) if stumble else _NO_STUMBLE
    lines = [prelude, "", f"class {tree.name}(_mf.FlowSpec):", f"    {tree.doc!r}"]
    for index, parameter in enumerate(tree.parameters):
        arguments = "".join(f", {name}={text}" for name, text in parameter.arguments)
        lines.append(f"    parameter_{index} = _mf.Parameter({parameter.name!r}{arguments})")
    for index, step in enumerate(texts):
        lines += ["", *_step_lines(tree, step, tree.docs[index % len(tree.docs)])]
    return "\n".join([*lines, "", "", 'if __name__ == "__main__":', f"    {tree.name}()", ""])


def _step_lines(tree: FlowTree, step: StepText, doc: str) -> Iterator[str]:
    if step.is_parallel:
        yield "    @_mf.parallel"
    yield f"    @_mf.step{_annotation(tree, step.name)}"
    yield f"    def {step.name}(self{', inputs' if step.is_join else ''}):"
    if doc:
        yield f"        {doc!r}"
    if step.is_join:
        yield f"        _joined(self, {step.name!r}, inputs, {_keeps_order(tree, step)})"
    else:
        yield f"        _seen(self, {step.name!r})"
    for line in _next_lines(step.name, step.next):
        yield f"        {line}"


def _keeps_order(tree: FlowTree, join: StepText) -> bool:
    """Whether the inputs of a join come in the order of the items of its foreach.

    Metaflow has a set of the steps that lead to a join, so their order depends on its hash seed.
    """
    before = [
        step for step in steps(tree) if step.next == Linear(join.name) or chooses(step, join.name)
    ]
    return join.joins_foreach and len(before) == 1


def chooses(step: StepText, target: str) -> bool:
    """Whether a step is a switch of which a case leads to another step."""
    return isinstance(step.next, Cases) and target in {one for _, one in step.next.targets}


def _annotation(tree: FlowTree, name: str) -> str:
    marks = []
    if name == tree.start != "start" and tree.body:
        marks.append("start=True")
    if name == tree.end != "end" and tree.body:
        marks.append("end=True")
    return f"({', '.join(marks)})" if marks else ""


def _next_lines(name: str, following: Next) -> Iterator[str]:
    match following:
        case Linear(target):
            yield f"self.next(self.{target})"
        case Fan(targets):
            yield f"self.next({', '.join(f'self.{each}' for each in targets)})"
        case Each(target):
            yield f"self.items = _items(self, {name!r})"
            yield f'self.next(self.{target}, foreach="items")'
        case OnNodes(target, count):
            yield f"self.next(self.{target}, num_parallel={count})"
        case Cases(targets, again):
            keys = [key for key, _ in targets]
            loop = "" if again is None else f", {again!r}"
            yield f"self.chosen = _chosen(self, {name!r}, {keys!r}{loop})"
            pairs = [*targets, *([] if again is None else [(again, name)])]
            cases = ", ".join(f"{key!r}: self.{target}" for key, target in pairs)
            yield f'self.next({{{cases}}}, condition="chosen")'
        case None:
            yield "pass"
        case _:
            assert_never(following)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What Metaflow allows for steps and what something else might stumble over: names of Dagster, of
# Python, of the generated file and of the helpers and variables in it.
NASTY_STEPS = _words(
    "context config conf meta type int str float bool dict list input_ output arg_dict "
    "class_ def_ match case print step metaflow dagster op job graph defs definitions items item "
    "op_end op_start op_a a op run_step start_run task parameters inputs paths flat regrouped "
    "fanned_out gather_a regroup_a fan_out_a each_a each_item a_items a_list a_groups to_a from_a "
    "a__b x1 task_output foreach_list json os re iterator any self inside result map collect "
    "alias count to_type from_type type_ switch_output split_outputs dynamicout "
    "output_config input_arg_dict op__a e x_y x__y"
)

NASTY_FLOWS = _words(
    "Config Definitions Output DynamicOut In Out op job defs Flow_1 print json os Größe _Private "
    "RetryPolicy OpExecutionContext run_step op_start __Dunder flat Any type config str context"
)

NASTY_PARAMETERS = _words(
    "schema json self my-param class config context model_dump model_fields _private Field os str "
    "int UPPER __double__ HERE task parameters Config op dict None- a-b-c x type inputs"
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_DOCS = st.one_of(
    st.just(""), st.sampled_from(['"""', "a\\b", "{x} %s", "'\"", "# no", "line\nline"]), _TEXT
)
_KEYS: tuple[Key, ...] = ("a", "b", 0, 1, 2.5, "", "1", "it's", 'q"', "é", "config:x.y", 10**20)
_DEFAULTS = st.one_of(
    st.sampled_from(["'text'", "''", "0", "-1", "1.5", "True", "False", "None", "1e300"]),
    _TEXT.map(repr),
    st.integers().map(repr),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXT),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)


@dataclass(frozen=True)
class Limits:
    """How large flows get: their steps, how deep foreaches and how deep anything nests."""

    steps: int = 14
    foreaches: int = 4
    depth: int = 4


class _Builder:
    """Draws a tree, within limits and with names that are all different."""

    def __init__(self, draw: st.DrawFn, limits: Limits, nasty: bool) -> None:
        self._draw = draw
        self._limits = limits
        self._nasty = nasty
        self._left = limits.steps
        self._names: set[str] = set()

    def name(self) -> str:
        """A name for a step, plain unless something else was drawn."""
        self._left -= 1
        if self._nasty:
            index = self._draw(st.integers(0, len(NASTY_STEPS)))
            if index and NASTY_STEPS[index - 1] not in self._names:
                return self.taken(NASTY_STEPS[index - 1])
        return self.taken(f"s{len(self._names)}")

    def taken(self, name: str) -> str:
        self._names.add(name)
        return name

    def body(self, loops: int, depth: int, before_join: bool, least: int = 1) -> Body:
        """A sequence; before a join, no switch leads to what follows."""
        length = max(least, self._draw(st.integers(least, 3)))
        return tuple(
            self.node(loops, depth, before_join and index == length - 1) for index in range(length)
        )

    def node(self, loops: int, depth: int, before_join: bool) -> Node:
        kinds = ["plain"]
        if depth < self._limits.depth and self._left > 0:
            kinds += ["choice", "branches", "nodes"]
            if loops < self._limits.foreaches:
                kinds += ["loop", "loop"]
        match self._draw(st.sampled_from(kinds)):
            case "choice":
                return self.choice(loops, depth, before_join)
            case "branches":
                return self.branches(loops, depth)
            case "loop":
                opening = self.opening()
                return Loop(opening, self.body(loops + 1, depth + 1, True), self.name())
            case "nodes":
                count = self._draw(st.integers(1, 2))
                return Nodes(self.opening(), self.name(), count, self.name())
            case _:
                return Plain(self.name())

    def opening(self) -> Opening:
        if self._draw(st.integers(0, 7)) != 7:
            return Opening((self.name(),))
        selector = self.name()
        return Opening((self.name(), self.name()), selector)

    def branches(self, loops: int, depth: int) -> Branches:
        opening = self.opening()
        bodies = [self.body(loops, depth + 1, True) for _ in range(self._draw(st.integers(2, 3)))]
        return Branches(opening, tuple(bodies), self.name())

    def choice(self, loops: int, depth: int, before_join: bool) -> Choice:
        name = self.name()
        keys = list(self._draw(st.permutations(_KEYS)) if self._nasty else _KEYS)
        again = keys.pop() if self._draw(st.integers(0, 3)) == 3 else None
        count = self._draw(st.integers(1 if again is not None else 2, 3))
        cases = [
            self.case(keys, loops, depth, before_join, index == count - 1) for index in range(count)
        ]
        return Choice(name, tuple(cases), again)

    def case(self, keys: list[Key], loops: int, depth: int, before_join: bool, last: bool) -> Case:
        falls = not last and self._draw(st.integers(0, 3)) == 3
        two = self._draw(st.integers(0, 5)) == 5
        own = tuple(keys.pop(0) for _ in range(2 if two else 1))
        tight = before_join and not falls
        body: Body = ()
        if tight or self._draw(st.booleans()):
            body = self.body(loops, depth + 1, tight)
        return Case(own, body, falls)


@st.composite
def trees(draw: st.DrawFn, limits: Limits = Limits(), nasty: bool = True) -> FlowTree:
    """Flows that Metaflow accepts, with what happens when they run."""
    builder = _Builder(draw, limits, nasty)
    custom = nasty and draw(st.integers(0, 5)) == 5
    end = builder.name() if custom else builder.taken("end")
    if not custom:
        builder.taken("start")
    body = builder.body(0, 0, False, least=0 if draw(st.integers(0, 9)) == 9 else 1)
    if isinstance(body and body[0], Choice) and body[0].again is not None:
        body = (Plain(builder.name()), *body)  # nothing may lead to the first step
    tree = FlowTree(
        name="RandomFlow",
        body=body,
        end=end,
        play=Play(tuple(draw(st.lists(st.integers(0, 11), min_size=1, max_size=12)))),
    )
    if not custom:
        tree = replace(tree, body=_renamed(body, tree.start, "start"))
    return _decorated(draw, tree) if nasty else tree


def _decorated(draw: st.DrawFn, tree: FlowTree) -> FlowTree:
    index = draw(st.integers(0, 2 * len(NASTY_FLOWS)))
    return replace(
        tree,
        name=NASTY_FLOWS[index - 1] if 0 < index <= len(NASTY_FLOWS) else tree.name,
        doc=draw(_DOCS),
        docs=tuple(draw(st.lists(_DOCS, min_size=1, max_size=3))),
        parameters=tuple(draw(_parameters)),
    )


@st.composite
def _parameter(draw: st.DrawFn) -> ParameterText:
    arguments = []
    if draw(st.booleans()):
        arguments.append(("help", repr(draw(_DOCS))))
    kind = draw(st.sampled_from(["default", "type", "json"]))
    if kind == "default":
        arguments.append(("default", draw(_DEFAULTS)))
    elif kind == "type":
        arguments.append(("type", draw(st.sampled_from(["int", "float", "bool", "str"]))))
        arguments.append(("required", repr(draw(st.booleans()))))
    else:
        arguments += [("type", "_mf.JSONType"), ("default", repr(draw(_JSON)))]
    return ParameterText(draw(st.sampled_from(NASTY_PARAMETERS)), tuple(arguments))


_parameters = st.lists(
    _parameter(), max_size=3, unique_by=lambda parameter: parameter.name.replace("-", "_").lower()
)


def _renamed(body: Body, old: str, new: str) -> Body:
    """The body with its first step under another name."""
    if not body:
        return body
    first, *rest = body
    match first:
        case Plain():
            return (Plain(new), *rest)
        case Choice():
            return (replace(first, name=new), *rest)
        case Branches(opening) | Loop(opening) | Nodes(opening):
            renamed = (
                replace(opening, selector=new)
                if opening.selector == old
                else Opening((new, *opening.heads[1:]))
            )
            return (replace(first, opening=renamed), *rest)
        case _:
            assert_never(first)


@contextmanager
def module_of(text: str, directory: Path, name: str) -> Iterator[ModuleType]:
    """The text as an imported module, for as long as it is needed."""
    file = directory / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def flow_of(tree: FlowTree, module: ModuleType) -> Any:
    """The class of the flow in its module."""
    return getattr(module, tree.name)


def examples(count: int, deep: int = DEEP) -> Any:
    """The settings of a test that tries `count` examples, or `deep` times as many in a deep run."""
    is_deep = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
    return settings(
        max_examples=count * (deep if is_deep else 1),
        deadline=None,
        phases=[each for each in Phase if each is not Phase.explain],
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.filter_too_much,
            HealthCheck.function_scoped_fixture,
        ],
    )
