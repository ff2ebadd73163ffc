"""The times of Metaflow's `@schedule`, in the cron strings that Dagster takes.

Metaflow hands the expression of a schedule on as the user wrote it: six fields in the notation of
Amazon EventBridge, which its own `weekly`, `daily` and `hourly` have too, or the five of Unix cron,
which Argo Workflows takes. Dagster takes five fields and reads them with croniter. A string that
comes out of here has the times of what went in; what Dagster cannot express is refused.

EventBridge: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass

from metaflow_dagster.diagnostics import Diagnostic

_ALIASES = {"@hourly", "@midnight", "@daily", "@weekly", "@monthly", "@yearly", "@annually"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

_ANY_CASE = re.ASCII | re.IGNORECASE
_ONE = r"[0-9]{1,4}|[A-Z]{3}"
_RANGE = re.compile(
    rf"(?:\*|(?P<first>{_ONE})(?:-(?P<last>{_ONE}))?)(?:/(?P<step>[0-9]{{1,4}}))?", _ANY_CASE
)
_ANY_WEEKDAY = "|".join(_WEEKDAYS)
# `MON#1` is the first Monday of a month, `L5` the last Friday.
_IN_MONTH = re.compile(rf"(?:[0-7]|{_ANY_WEEKDAY})#[1-5]|L[0-7]", _ANY_CASE)
_LAST_IN_EVENTBRIDGE = re.compile(rf"({_ANY_WEEKDAY})L", _ANY_CASE)
# The number of a day of the week, and not one that counts steps or weeks.
_WEEKDAY_NUMBER = re.compile(r"(?<![/#0-9])[0-9]+", re.ASCII)

# Of the two fields for days, these leave the choice to the other one.
_UNRESTRICTED = {"*", "?"}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class UnsupportedCron(ValueError):
    """A schedule that Dagster cannot keep: what is wrong with it, and what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}")


def dagster_cron(schedule: str) -> str:
    """The cron string for Dagster with the times of this expression of a `@schedule`."""
    match schedule.split():
        case [alias] if alias.lower() in _ALIASES:
            cron = alias
        case [minute, hour, day, month, weekday]:
            cron = _from_unix(minute, hour, day, month, weekday)
        case [minute, hour, day, month, weekday, year]:
            cron = _from_eventbridge(minute, hour, day, month, weekday, year)
        case _:
            raise UnsupportedCron(
                f"The cron expression {schedule!r} does not have five or six fields.",
                "Write minute, hour, day of month, month and day of week as for Unix cron, or the "
                "six fields of Amazon EventBridge, which end with the year.",
            )
    refusal = UnsupportedCron(
        f"Dagster does not take the cron expression {schedule!r}.",
        "Write another one, in the five fields of Unix cron.",
    )
    _check_with_dagster(cron, "UTC", refusal)
    return cron


def check_timezone(name: str) -> None:
    """Raise `UnsupportedCron` unless Dagster can keep a schedule in this timezone, anywhere.

    Dagster takes whatever the machine has a file for. A name that is not IANA's, such as
    `localtime`, means something else on another machine, or nothing.
    """
    timezones = zoneinfo.available_timezones() - {"localtime"} | {"utc"}
    close = difflib.get_close_matches(name, sorted(timezones)) or ["Europe/Berlin"]
    refusal = UnsupportedCron(
        f"The timezone {name!r} of the schedule is not known.",
        f"Write its name in the IANA database, such as {' or '.join(close)}.",
    )
    if name not in timezones:
        raise refusal
    _check_with_dagster("@daily", name, refusal)


def check_times(whose: str, cron: object, timezone: object) -> Iterator[Diagnostic]:
    """Refuse a cron expression or a time zone that Dagster does not support."""
    try:
        dagster_cron(str(cron))
        if timezone is not None:
            check_timezone(str(timezone))
    except UnsupportedCron as error:
        yield Diagnostic(f"{whose}: {error.message}", error.hint)


def _check_with_dagster(cron: str, timezone: str, refusal: UnsupportedCron) -> None:
    """Let Dagster make a schedule of it, as it does where a generated file is loaded."""
    from dagster import DagsterInvalidDefinitionError, ScheduleDefinition

    try:
        ScheduleDefinition(
            name="schedule", job_name="job", cron_schedule=cron, execution_timezone=timezone
        )
    except DagsterInvalidDefinitionError as error:
        raise refusal from error


@dataclass(frozen=True, slots=True)
class _Field:
    """The range and the names that a field of a cron expression may hold."""

    title: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()
    spare: int = 0
    """How many numbers past the highest stand for the first ones: 7 is a Sunday, as 0 is."""

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.lowest, self.highest + 1))

    def number(self, text: str) -> int:
        """The number that a name or number of the field stands for."""
        if text.upper() in self.names:
            return self.lowest + self.names.index(text.upper())
        if text.isdecimal() and self.lowest <= int(text) <= self.highest + self.spare:
            return int(text)
        names = f" or from {self.names[0]} to {self.names[-1]}" if self.names else ""
        raise UnsupportedCron(
            f"The cron field for the {self.title} does not take {text!r}.",
            f"Write {self.lowest} to {self.highest}{names}, a list, a range or steps of them.",
        )

    def spell(self, number: int) -> str:
        return self.names[number - self.lowest] if self.names else str(number)


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 6, _WEEKDAYS, spare=1)
_YEAR = _Field("year", 1970, 2199)


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of an expression: the text for Dagster, and the numbers that it stands for.

    Without numbers it stands for days that are other ones in every month, as `L` and `MON#1` do.
    """

    field: _Field
    text: str
    numbers: frozenset[int] | None

    @property
    def has_all(self) -> bool:
        return self.numbers == self.field.all


@dataclass(frozen=True, slots=True)
class _Range:
    """The numbers from one to another, which comes round again where it is the smaller one."""

    field: _Field
    text: str
    first: int
    last: int
    step: int

    @property
    def numbers(self) -> tuple[int, ...]:
        lowest, count = self.field.lowest, len(self.field.all)
        end = self.last if self.first <= self.last else self.last + count
        numbers = range(self.first, end + 1, self.step)
        return tuple(dict.fromkeys(lowest + (number - lowest) % count for number in numbers))

    @property
    def goes_round(self) -> bool:
        return not self.first <= self.last <= self.field.highest

    def __str__(self) -> str:
        # Dagster reads `5-5` and `59/15` as the whole field. Where a range goes round, it counts
        # steps anew, and warns of an end at 0.
        single = len(self.numbers) == 1 and not self.text.isalnum()
        if single or (self.goes_round and ("/" in self.text or self.last == 0)):
            return ",".join(map(self.field.spell, self.numbers))
        return self.text


def _range(field: _Field, text: str) -> _Range:
    match = _RANGE.fullmatch(text)
    step = int(match["step"] or 1) if match else 0
    if match is None or step == 0:
        raise UnsupportedCron(
            f"The cron field for the {field.title} does not take {text!r}.",
            "Write a number, *, or a list, a range or steps such as 1,15 or 1-5 or 0/15.",
        )
    if match["first"] is None:
        return _Range(field, text, field.lowest, field.highest, step)
    first = field.number(match["first"])
    if match["last"]:
        return _Range(field, text, first, field.number(match["last"]), step)
    return _Range(field, text, first, field.highest if match["step"] else first, step)


def _ranges(field: _Field, text: str) -> _Part:
    ranges = [_range(field, part) for part in text.split(",")]
    numbers = frozenset(number for interval in ranges for number in interval.numbers)
    return _Part(field, ",".join(map(str, ranges)), numbers)


def _days(text: str) -> _Part:
    if text == "?":
        return _Part(_DAY, text, _DAY.all)
    if text.upper() == "L":
        return _Part(_DAY, text, None)
    if {*"LW"} & {*text.upper()}:
        raise UnsupportedCron(
            f"Dagster cannot express the day of month {text!r}: of L and W, it has L on its own, "
            "the last day.",
            "Write L, or the numbers of days, such as 1,15.",
        )
    return _ranges(_DAY, text)


def _weekdays(text: str) -> _Part:
    if text == "?":
        return _Part(_WEEKDAY, text, _WEEKDAY.all)
    if all(map(_IN_MONTH.fullmatch, text.split(","))):
        return _Part(_WEEKDAY, text, None)
    if {*"L#"} & {*text.upper()}:
        raise _not_in_month(text)
    return _ranges(_WEEKDAY, text)


def _not_in_month(weekday: str) -> UnsupportedCron:
    return UnsupportedCron(
        f"Dagster cannot express the day of week {weekday!r}: of # and L, it has the first to "
        "fifth and the last of a day in a month, both without plain days.",
        "Write MON#1 for the first Monday; for the last Friday, L5 in five fields or 6L in six.",
    )


def _from_unix(minute: str, hour: str, day: str, month: str, weekday: str) -> str:
    if _is_ambiguous(day, weekday):
        raise UnsupportedCron(
            f"The day of month {day!r} and the day of week {weekday!r} are both restricted: "
            "Dagster would run on days that match either, which is not what cron makes of "
            "a * with a step, and L and # are not of cron.",
            "Write * for one of them, or plain days for both.",
        )
    return _cron_string(minute, hour, _days(day), month, _weekdays(weekday))


def _is_ambiguous(day: str, weekday: str) -> bool:
    """Whether cron and Dagster combine the two in different ways.

    Both run on days that match either, except that cron runs on days that match both if one starts
    with a star, as `*/2` does: https://man7.org/linux/man-pages/man5/crontab.5.html
    """
    both_restricted = not {day, weekday} & _UNRESTRICTED
    return both_restricted and not {*"*L#"}.isdisjoint((day + weekday).upper())


def _from_eventbridge(minute: str, hour: str, day: str, month: str, weekday: str, year: str) -> str:
    if year != "?" and not _ranges(_YEAR, year).has_all:
        raise UnsupportedCron(
            f"The cron expression is for the year {year!r}, and Dagster's schedules have no year.",
            "Write * for the year, and stop the schedule in Dagster when its time is over.",
        )
    days, weekdays = map(_with_star, (_days(day), _weekdays(_as_in_unix(weekday))))
    if "*" not in (days.text, weekdays.text):
        raise UnsupportedCron(
            f"The day of month {day!r} and the day of week {weekday!r} are both restricted, which "
            "EventBridge does not take; Unix cron runs on days that match either.",
            "Write ? for one of them.",
        )
    return _cron_string(minute, hour, days, month, weekdays)


def _with_star(part: _Part) -> _Part:
    """The same with a star for all days, of which Dagster knows that it restricts nothing."""
    return _Part(part.field, "*", part.numbers) if part.has_all else part


def _as_in_unix(weekdays: str) -> str:
    """The days of a week without the numbers of EventBridge, where 1 is a Sunday."""
    return ",".join(map(_weekday_as_in_unix, weekdays.split(",")))


def _weekday_as_in_unix(text: str) -> str:
    if text.upper() == "L":
        return _WEEKDAYS[-1]
    if text.upper().startswith("L"):
        raise _not_in_month(text)
    named = _WEEKDAY_NUMBER.sub(_weekday_name, text)
    last = _LAST_IN_EVENTBRIDGE.fullmatch(named)
    return f"L{_WEEKDAY.number(last[1])}" if last else named


def _weekday_name(number: re.Match[str]) -> str:
    if number[0] not in {*"1234567"}:
        raise UnsupportedCron(
            f"The day of week {number[0]} is not one of EventBridge.",
            "Write 1, which is Sunday, to 7, or SUN to SAT.",
        )
    return _WEEKDAYS[int(number[0]) - 1]


def _cron_string(minute: str, hour: str, days: _Part, month: str, weekdays: _Part) -> str:
    months = _ranges(_MONTH, month)
    _check_existence(days, months)
    parts = (_ranges(_MINUTE, minute), _ranges(_HOUR, hour), days, months, weekdays)
    texts = [part.text for part in parts]
    # Dagster takes exactly this for the day after each 28 February, and while one of them is near
    # (dagster/_utils/schedules.py: cron_string_iterator) looks for the next one.
    if texts[2:] == ["29", "2", "*"]:
        texts[3] = "FEB"
    return " ".join(texts)


def _check_existence(days: _Part, months: _Part) -> None:
    """Dagster loads a schedule for days that never come, and fails when it looks for the next.

    It does so even if there are days of the week on which the schedule would run.
    """
    longest = max(_LONGEST[month - 1] for month in months.numbers or ())
    if days.numbers is not None and min(days.numbers) > longest:
        raise UnsupportedCron(
            f"Month {months.text!r} never has a day {days.text!r}, which Dagster would look for.",
            "Write a day that exists, or L for the last day of a month.",
        )
