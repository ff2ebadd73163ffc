"""Partitions of a flow's runs, as `--partition PARAMETER=PARTITIONS` says them.

    day=daily:2026-01-01                               a run a day, whose parameter `day` names it
    since,until=hourly:2026-01-01,timezone=Europe/Oslo start and end of the hour, in two parameters
    region=static:eu,us                                a run a region
    customer=dynamic                                   regions that are added while Dagster runs

What the words after the start of time windows mean is what Dagster's classes take by these names
(dagster/_core/definitions/partitions/definition/time_window_subclasses.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from typing_extensions import assert_never

from metaflow_dagster.diagnostics import CompileError, Diagnostic, MalformedOption
from metaflow_dagster.internals.operation import DagsterHome
from metaflow_dagster.ir.assets import (
    Dimension,
    DynamicPartitions,
    Interval,
    Partitions,
    StaticPartitions,
    TimePartitions,
)
from metaflow_dagster.ir.flow import (
    Flow,
    Literal,
    Parameter,
    ParameterKind,
    TriggerKind,
)

OPTION: Final = "--partition"
MOST_DIMENSIONS: Final = 2  # dagster/_core/definitions/partitions/definition/multi.py

_FORMATS: Final[Mapping[Interval, str]] = {
    # Dagster's own (dagster/_core/definitions/partitions/utils/time_window.py).
    Interval.HOURLY: "%Y-%m-%d-%H:%M",
    Interval.DAILY: "%Y-%m-%d",
    Interval.WEEKLY: "%Y-%m-%d",
    Interval.MONTHLY: "%Y-%m-%d",
}
_CLASSES: Final[Mapping[Interval, str]] = {
    Interval.HOURLY: "HourlyPartitionsDefinition",
    Interval.DAILY: "DailyPartitionsDefinition",
    Interval.WEEKLY: "WeeklyPartitionsDefinition",
    Interval.MONTHLY: "MonthlyPartitionsDefinition",
}
_OFFSETS: Final[Mapping[str, frozenset[Interval]]] = {
    "minute_offset": frozenset(Interval),
    "hour_offset": frozenset(Interval) - {Interval.HOURLY},
    "day_offset": frozenset({Interval.WEEKLY, Interval.MONTHLY}),
    "end_offset": frozenset(Interval),
}
_WORDS: Final = ("end", "timezone", "format", *_OFFSETS)
_SPANS: Final[Mapping[Interval, timedelta]] = {
    Interval.HOURLY: timedelta(hours=1),
    Interval.DAILY: timedelta(days=1),
    Interval.WEEKLY: timedelta(weeks=1),
    Interval.MONTHLY: timedelta(days=28),
}
_WINDOWS_TO_CHECK: Final = 1500  # two months of hours, four years of days
_KEYED: Final = {
    ParameterKind.STR: str,
    ParameterKind.INT: int,
    ParameterKind.FLOAT: float,
}  # how a parameter reads a key


def read_dimensions(flow: Flow, texts: Sequence[str]) -> tuple[Dimension, ...]:
    """The partitions of a flow, by the values of `--partition`.

    Raises
    ------
    CompileError : says all that is wrong with them
    """
    problems: list[Diagnostic] = []
    dimensions: list[Dimension] = []
    for text in texts:
        try:
            dimensions.append(_dimension(flow, text))
        except MalformedOption as error:
            problems.append(error.diagnostic)
    problems += _check_together(dimensions)
    if problems:
        raise CompileError(problems)
    return tuple(dimensions)


def check_triggers(flow: Flow, dimensions: Sequence[Dimension]) -> Iterator[Diagnostic]:
    """Refuse events that do not say of which partition a run is that they start."""
    for trigger in flow.triggers:
        given = {parameter for event in trigger.events for parameter, _ in event.parameters}
        for dimension in dimensions:
            if trigger.kind is TriggerKind.EVENT and dimension.parameter not in given:
                yield Diagnostic(
                    f"@trigger gives no value to parameter {dimension.parameter}, which is to "
                    "choose the partition of a run.",
                    f'Name the field that does: @trigger(event={{"name": "{trigger.events[0].name}"'
                    f', "parameters": {{"{dimension.parameter}": "{dimension.parameter}"}}}}).',
                )


def _dimension(flow: Flow, text: str) -> Dimension:
    names, equals, given = text.partition("=")
    if not equals:
        raise MalformedOption(
            f"{OPTION} {text!r} is not of the form PARAMETER=PARTITIONS.",
            f"Write it as {OPTION} day=daily:2026-01-01, or {OPTION} region=static:eu,us.",
        )
    name, comma, end = names.partition(",")
    partitions = _partitions(flow, name, text, given)
    _check_with_dagster(text, partitions)
    for parameter in (name, end) if comma else (name,):
        _check_parameter(flow, parameter, text, partitions)
    if comma and not isinstance(partitions, TimePartitions):
        raise MalformedOption(
            f"{OPTION} {text!r} names two parameters, which only time windows have values for.",
            "Name one parameter, or take hourly, daily, weekly or monthly partitions.",
        )
    if name == end:
        raise MalformedOption(f"{OPTION} {text!r} names {name} twice.", "Name two parameters.")
    return Dimension(name, partitions, end if comma else None)


def _partitions(flow: Flow, name: str, text: str, given: str) -> Partitions:
    kind, colon, words = given.partition(":")
    match kind:
        case "static":
            return StaticPartitions(tuple(_static_keys(text, words)))
        case "dynamic":
            return DynamicPartitions(words if colon else f"{flow.name}.{name}")
        case "hourly" | "daily" | "weekly" | "monthly":
            return _time_partitions(Interval(kind), text, words)
        case _:
            known = ", ".join([*(each.value for each in Interval), "static", "dynamic"])
            raise MalformedOption(
                f"{OPTION} {text!r}: {kind!r} is unknown.", f"Choose one of {known}."
            )


def _static_keys(text: str, words: str) -> Iterator[str]:
    keys = words.split(",")
    for key in keys:
        if not key:
            raise MalformedOption(
                f"{OPTION} {text!r} has a key without any text.", "Write it as region=static:eu,us."
            )
        if keys.count(key) > 1:
            raise MalformedOption(f"{OPTION} {text!r} has key {key} twice.", "Name each key once.")
        yield key


def _time_partitions(interval: Interval, text: str, words: str) -> TimePartitions:
    start, *others = words.split(",")
    more = dict(_word(text, word) for word in others)
    key_format = more.pop("format", _FORMATS[interval])
    end, timezone = more.pop("end", None), more.pop("timezone", None)
    begin, *_ = [_moment(text, each, key_format) for each in (start, end) if each is not None]
    if end is not None and _moment(text, end, key_format) <= begin:
        raise MalformedOption(
            f"{OPTION} {text!r} ends before it begins.", "Let end be after the start."
        )
    if timezone is not None:
        _check_timezone(text, timezone)
    offsets = tuple((word, _offset(text, interval, word, value)) for word, value in more.items())
    return TimePartitions(interval, start, key_format, end, timezone, offsets)


def _word(text: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or name not in _WORDS:
        raise MalformedOption(
            f"{OPTION} {text!r}: {word!r} is unknown.",
            f"After the start, it takes {', '.join(f'{known}=…' for known in _WORDS)}.",
        )
    return name, value


def _moment(text: str, moment: str, key_format: str) -> datetime:
    try:
        return datetime.strptime(moment, key_format)
    except (ValueError, re.error) as error:
        example = datetime(2026, 1, 1).strftime(key_format)
        raise MalformedOption(
            f"{OPTION} {text!r}: {moment!r} is no time in the format {key_format} ({error}).",
            f"Write it as {example}, or give another format=….",
        ) from error


def _check_timezone(text: str, timezone: str) -> None:
    import difflib
    import zoneinfo

    known = zoneinfo.available_timezones()
    if timezone not in known or timezone == "localtime":
        close = difflib.get_close_matches(timezone, sorted(known)) or ["Europe/Berlin"]
        raise MalformedOption(
            f"{OPTION} {text!r}: the timezone {timezone!r} is not known.",
            f"Write its name in the IANA database, such as {' or '.join(close)}.",
        )


def _offset(text: str, interval: Interval, word: str, value: str) -> int:
    if interval not in _OFFSETS[word]:
        raise MalformedOption(
            f"{OPTION} {text!r}: {interval.value} has no {word}.", "Leave it out."
        )
    if not re.fullmatch(r"-?[0-9]{1,6}", value):
        raise MalformedOption(
            f"{OPTION} {text!r}: {word} does not take {value!r}.", "Give a whole number."
        )
    return int(value)


def definition_of(partitions: Partitions) -> tuple[str, Mapping[str, Literal]]:
    """The class of Dagster's that partitions are an instance of, with its keywords."""
    match partitions:
        case StaticPartitions(keys):
            return "StaticPartitionsDefinition", {"partition_keys": list(keys)}
        case DynamicPartitions(name):
            return "DynamicPartitionsDefinition", {"name": name}
        case TimePartitions(interval, start, key_format, end, timezone, offsets):
            optional = {
                "end_date": end,
                "timezone": timezone,
                "fmt": None if key_format == _FORMATS[interval] else key_format,
                **dict(offsets),
            }
            given = {name: value for name, value in optional.items() if value is not None}
            return _CLASSES[interval], {"start_date": start, **given}
        case _:
            assert_never(partitions)


def _check_with_dagster(text: str, partitions: Partitions) -> None:
    """Let Dagster make the partitions, as it does where a generated file is loaded."""
    try:
        definition = made(partitions)
        if isinstance(partitions, TimePartitions):
            _check_windows(text, partitions, _first_keys(definition, partitions))
    except _refusals() as error:
        raise MalformedOption(
            f"Dagster does not take {OPTION} {text!r}: {str(error).strip()}", "Write it otherwise."
        ) from error


def made(partitions: Partitions) -> Any:
    """The partitions as Dagster has them."""
    import dagster

    name, keywords = definition_of(partitions)
    return getattr(dagster, name)(**keywords)


def _refusals() -> tuple[type[Exception], ...]:
    """The errors of Dagster's classes for partitions that they do not take."""
    from dagster import DagsterError

    return (DagsterError, DagsterHome.check_error.get(), ValueError, OverflowError)


def _first_keys(definition: Any, partitions: TimePartitions) -> Sequence[str]:
    """The keys of the first windows, whenever they are."""
    start = definition.start
    span = _WINDOWS_TO_CHECK * _SPANS[partitions.interval]
    keys: Sequence[str] = definition.get_partition_keys(current_time=start + span)
    return keys


def _check_windows(text: str, partitions: TimePartitions, keys: Sequence[str]) -> None:
    """Refuse a format in which several windows have the same key, or there is none at all."""
    if not keys:
        raise MalformedOption(f"{OPTION} {text!r} has no partition at all.", "Let it end later.")
    if len(set(keys)) < len(keys):
        raise MalformedOption(
            f"{OPTION} {text!r}: in the format {partitions.format}, several "
            f"{partitions.interval.value} partitions have the same key.",
            f"Take a format that tells them apart, such as {_FORMATS[partitions.interval]}.",
        )


def _check_parameter(flow: Flow, name: str, text: str, partitions: Partitions) -> None:
    found = {parameter.name: parameter for parameter in flow.parameters}
    if name not in found:
        raise MalformedOption(
            f"{OPTION} {text!r}: {flow.name} has no parameter {name}.",
            f"Its parameters are: {', '.join(found) or 'none'}.",
        )
    for key in _sample_keys(partitions):
        _check_kind(found[name], text, key)


def _sample_keys(partitions: Partitions) -> tuple[str, ...]:
    """Keys that parameters have to be able to read."""
    match partitions:
        case TimePartitions(start=start):
            return (start,)
        case StaticPartitions(keys):
            return keys
        case DynamicPartitions():
            return ("1",)


def _check_kind(parameter: Parameter, text: str, key: str) -> None:
    read = _KEYED.get(parameter.kind)
    if read is None:
        raise MalformedOption(
            f"{OPTION} {text!r}: parameter {parameter.name} is of type {parameter.kind.value}, "
            "and keys of partitions are texts.",
            "Name a parameter that is a text or a number.",
        )
    try:
        read(key)
    except ValueError as error:
        raise MalformedOption(
            f"{OPTION} {text!r}: parameter {parameter.name} is of type {parameter.kind.value}, "
            f"which the key {key!r} does not fit.",
            "Take keys, or a format, that the parameter can read, such as format=%Y%m%d.",
        ) from error


def _check_together(dimensions: Sequence[Dimension]) -> Iterator[Diagnostic]:
    if len(dimensions) > MOST_DIMENSIONS:
        yield Diagnostic(
            f"There are {len(dimensions)} {OPTION}, and Dagster has two dimensions at most.",
            "Leave some out.",
        )
    names = [name for dimension in dimensions for name in dimension.parameters]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Diagnostic(f"Several {OPTION} are for parameter {name}.", "Name each parameter once.")
    yield from _check_two(dimensions)
    windows = [each for each in dimensions if isinstance(each.partitions, TimePartitions)]
    if len(windows) > 1:
        yield Diagnostic(
            f"Both {' and '.join(each.parameter for each in windows)} are to have time windows.",
            "Dagster has one dimension of time at most: give the other one static or dynamic "
            "partitions.",
        )


def _check_two(dimensions: Sequence[Dimension]) -> Iterator[Diagnostic]:
    """Keys that Dagster takes alone, but not for one of two dimensions."""
    if len(dimensions) != MOST_DIMENSIONS:
        return
    for dimension in dimensions:
        given = dimension.partitions
        keys = given.keys if isinstance(given, StaticPartitions) else ()
        if unfit := [key for key in keys if set("|[]") & set(key)]:
            yield Diagnostic(
                f"{OPTION} {dimension.parameter}=…: the key {unfit[0]!r} has one of | [ ], which "
                "Dagster does not take in one of two dimensions.",
                "Leave them out of the key.",
            )
