"""The times of Metaflow's schedules are those that Dagster keeps.

The notation of EventBridge is read here once more, by sets of numbers and days, and compared with
what Dagster makes of the converted string.
"""

from __future__ import annotations

import calendar
import datetime as dt
import itertools
from collections.abc import Iterator

import pytest
from dagster import ScheduleDefinition
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given, settings
from hypothesis import strategies as st
from metaflow.plugins.aws.step_functions.schedule_decorator import ScheduleDecorator

from metaflow_dagster.frontend import cron
from metaflow_dagster.frontend.cron import UnsupportedCron, check_timezone, dagster_cron

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
YEARS = [2023, 2024]


def ticks(cron_string: str, start: dt.datetime) -> Iterator[dt.datetime]:
    """The times at which Dagster runs a schedule, from a start on."""
    return cron_string_iterator(
        start.replace(tzinfo=dt.timezone.utc).timestamp(), cron_string, None
    )


def ticks_within(cron_string: str, start: dt.datetime, span: dt.timedelta) -> list[dt.datetime]:
    end = start.replace(tzinfo=dt.timezone.utc) + span
    return list(itertools.takewhile(lambda tick: tick < end, ticks(cron_string, start)))


def days_in_dagster(cron_string: str, year: int) -> set[dt.date]:
    days = " ".join(cron_string.split()[2:])
    start = dt.datetime(year, 1, 1)
    found = ticks_within(f"0 0 {days}", start, dt.datetime(year + 1, 1, 1) - start)
    return {tick.date() for tick in found}


def minutes_in_dagster(cron_string: str) -> set[int]:
    found = ticks_within(
        f"{cron_string.split()[0]} * * * *", dt.datetime(2024, 1, 1), dt.timedelta(hours=1)
    )
    return {tick.minute for tick in found}


def hours_in_dagster(cron_string: str) -> set[int]:
    found = ticks_within(
        f"0 {cron_string.split()[1]} * * *", dt.datetime(2024, 1, 1), dt.timedelta(days=1)
    )
    return {tick.hour for tick in found}


def numbers(text: str, wheel: list[int], names: list[str]) -> set[int]:
    """The numbers of a field without L, W and #, read off a wheel with all of them."""
    values = {str(number): number for number in wheel} | dict(zip(names, wheel, strict=False))
    found: set[int] = set()
    for word in text.split(","):
        span, _, step = word.partition("/")
        if span in ("*", "?"):
            run = wheel
        elif "-" in span:
            first, last = (wheel.index(values[end]) for end in span.split("-"))
            run = wheel[first : last + 1] if first <= last else wheel[first:] + wheel[: last + 1]
        else:
            run = wheel[wheel.index(values[span]) :][: None if step else 1]
        found |= set(run[:: int(step or 1)])
    return found


def days(month: str, day: str, weekday: str, year: int) -> set[dt.date]:
    """The days of a year in EventBridge's notation, of which day or weekday is all days."""
    months = numbers(month, list(range(1, 13)), MONTHS)
    return {
        date
        for each in months
        for date in (dt.date(year, each, 1) + dt.timedelta(n) for n in range(31))
        if date.month == each and is_day(date, day) and is_weekday(date, weekday)
    }


def is_day(date: dt.date, text: str) -> bool:
    if text == "L":
        return date.day == calendar.monthrange(date.year, date.month)[1]
    return date.day in numbers(text, list(range(1, 32)), [])


def is_weekday(date: dt.date, text: str) -> bool:
    number = date.isoweekday() % 7 + 1
    if text == "L":
        return number == 7
    plain = text.replace("L", "").partition("#")[0]
    if number not in numbers(plain, list(range(1, 8)), WEEKDAYS):
        return False
    if text.endswith("L"):
        return (date + dt.timedelta(7)).month != date.month
    return "#" not in text or (date.day + 6) // 7 == int(text[-1])


def plain(lowest: int, highest: int, names: list[str]) -> st.SearchStrategy[str]:
    """Fields of values, ranges, steps and lists of them."""
    value = st.sampled_from([*map(str, range(lowest, highest + 1)), *names])
    step = st.integers(1, highest).map(str)
    ends = st.tuples(value, value).map("-".join)
    one = value | ends | st.tuples(value | ends | st.just("*"), step).map("/".join)
    return st.just("*") | one | st.lists(one, min_size=2, max_size=3).map(",".join)


MINUTE = plain(0, 59, [])
HOUR = plain(0, 23, [])
DAY = plain(1, 31, []) | st.just("L") | st.integers(28, 31).map(str)
MONTH = plain(1, 12, MONTHS) | st.sampled_from(["2", "FEB", "4,6"])
ONE_WEEKDAY = st.sampled_from([*"1234567", *WEEKDAYS])
WEEKDAY = (
    plain(1, 7, WEEKDAYS)
    | st.just("L")
    | ONE_WEEKDAY.map("{}L".format)
    | st.tuples(ONE_WEEKDAY, st.sampled_from("12345")).map("#".join)
)
DAYS = st.tuples(DAY, st.sampled_from("*?")) | st.tuples(st.sampled_from("*?"), WEEKDAY)


def converted_or_refused(schedule: str) -> str | UnsupportedCron:
    try:
        return dagster_cron(schedule)
    except UnsupportedCron as refusal:
        return refusal


def skips_days() -> bool:
    """Whether this Dagster misses the first days after a short month, as 1.10 does."""
    return dt.date(2023, 3, 1) not in days_in_dagster("0 0 1,30 * *", 2023)


# Dagster warns where it reads a step otherwise than it is written.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

needs_right_days = pytest.mark.skipif(skips_days(), reason="Dagster misses days itself")


@pytest.mark.slow
@needs_right_days
@given(DAYS, MONTH, st.sampled_from(YEARS))
@settings(max_examples=300)
def test_days_are_those_of_eventbridge(fields: tuple[str, str], month: str, year: int) -> None:
    day, weekday = fields
    converted = converted_or_refused(f"0 0 {day} {month} {weekday} *")
    if isinstance(converted, UnsupportedCron):
        assert "never has a day" in converted.message
        assert not any(days(month, day, weekday, each) for each in YEARS)
    else:
        assert days_in_dagster(converted, year) == days(month, day, weekday, year)


@pytest.mark.slow
@given(MINUTE, HOUR, st.sampled_from(["* * *", "? * MON *", "* * ? *"]))
@settings(max_examples=300)
def test_times_of_day_are_those_of_the_expression(minute: str, hour: str, rest: str) -> None:
    converted = dagster_cron(f"{minute} {hour} {rest}")
    assert minutes_in_dagster(converted) == numbers(minute, list(range(60)), [])
    assert hours_in_dagster(converted) == numbers(hour, list(range(24)), [])


def days_of_unix(month: str, day: str, weekday: str, year: int) -> set[dt.date]:
    """The days of a year in Unix cron: those that match either field, unless one has a star."""
    weekdays = numbers(weekday, list(range(7)), WEEKDAYS)
    by_weekday = {each for each in days(month, "*", "*", year) if each.isoweekday() % 7 in weekdays}
    by_day = days(month, day, "*", year)
    return by_weekday & by_day if "*" in day + weekday else by_weekday | by_day


@pytest.mark.slow
@needs_right_days
@given(DAY, MONTH, plain(0, 6, WEEKDAYS), st.sampled_from(YEARS))
@settings(max_examples=200)
def test_days_of_five_fields_are_those_of_unix(
    day: str, month: str, weekday: str, year: int
) -> None:
    converted = converted_or_refused(f"0 0 {day} {month} {weekday}")
    if not isinstance(converted, UnsupportedCron):
        assert days_in_dagster(converted, year) == days_of_unix(month, day, weekday, year)
    elif "never has a day" in converted.message:
        assert not any(days(month, day, "*", each) for each in YEARS)
    else:
        assert "are both restricted" in converted.message
        assert "*" not in (day, weekday)
        assert day == "L" or "*" in day + weekday


FRAGMENTS = st.sampled_from(
    ["*", "?", "0", "7", "29", "31", "5-5", "59/15", "6-2", "*/2", "FRI-MON", "2#1", "MON#5", "L",
     "L5", "6L", "LW", "15W", "L-3", "1,L", "R", "H", "2", "FEB", "1970-2199", "2025", "*,5", "x"]
)  # fmt: skip
EXPRESSIONS = (
    st.text()
    | st.text("0123456789*?/-,#LWRHMONSUFEB@ \t", max_size=30)
    | st.lists(FRAGMENTS, min_size=4, max_size=7).map(" ".join)
)


@given(EXPRESSIONS)
@settings(max_examples=500)
def test_what_comes_out_of_any_text_can_be_loaded_and_runs(text: str) -> None:
    converted = converted_or_refused(text)
    if isinstance(converted, UnsupportedCron):
        assert converted.message.endswith(".")
        assert converted.hint.endswith(".")
        return
    ScheduleDefinition(name="x", job_name="x", cron_schedule=converted, execution_timezone="UTC")
    first, second = itertools.islice(ticks(converted, dt.datetime(2024, 1, 1)), 2)
    assert first < second


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # as they are
        ("*/5 9-17 * * MON-FRI", "*/5 9-17 * * MON-FRI"),
        ("0 6 ? * mon", "0 6 ? * mon"),
        ("0 6 * * 7", "0 6 * * 7"),
        ("0 6 1,15 * 5-7", "0 6 1,15 * 5-7"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 * * MON#1,MON#3", "0 0 * * MON#1,MON#3"),
        ("0 0 * * L5", "0 0 * * L5"),
        ("0 0 31 * 0-6", "0 0 31 * 0-6"),
        ("@daily", "@daily"),
        ("  0  6 * *\t* ", "0 6 * * *"),
        # Dagster reads these otherwise
        ("5-5 * * * *", "5 * * * *"),
        ("*/90 */24 * * *", "0 0 * * *"),
        ("0 0 29 2 *", "0 0 29 FEB *"),
        ("0 0 * * 7-7", "0 0 * * SUN"),
        ("0 0 * * 7/2", "0 0 * * SUN,TUE,THU,SAT"),
        # six fields
        ("0 12 * * ? *", "0 12 * * *"),
        ("0 12 * * * *", "0 12 * * *"),
        ("0 12 ? * * ?", "0 12 * * *"),
        ("0/15 8-18 ? * MON-FRI *", "0/15 8-18 * * MON-FRI"),
        ("59/15 * * * ? *", "59 * * * *"),
        ("0 22-4/3 * * ? *", "0 22,1,4 * * *"),
        ("0 22-4 * * ? *", "0 22-4 * * *"),
        ("0 22-0 * * ? *", "0 22,23,0 * * *"),
        ("0 0 1 JAN,7 ? 1970-2199", "0 0 1 JAN,7 *"),
        ("0 0 1 NOV-FEB/2 ? 1970/1", "0 0 1 NOV,JAN *"),
        ("0 0 29 2 ? *", "0 0 29 FEB *"),
        ("0 0 L * ? *", "0 0 L * *"),
        ("0 0 ? * 1 *", "0 0 * * SUN"),
        ("0 0 ? * 2-6 *", "0 0 * * MON-FRI"),
        ("0 0 ? * 6-2 *", "0 0 * * FRI-MON"),
        ("0 0 ? * 2,4,7 *", "0 0 * * MON,WED,SAT"),
        ("0 0 ? * 2/2 *", "0 0 * * MON/2"),
        ("0 0 ? * 7/2 *", "0 0 * * SAT"),
        ("0 0 ? * 1-7 *", "0 0 * * *"),
        ("0 0 ? * 2#1 *", "0 0 * * MON#1"),
        ("0 0 ? * fri#3 *", "0 0 * * fri#3"),
        ("0 0 ? * L *", "0 0 * * SAT"),
        ("0 0 ? * 6L *", "0 0 * * L5"),
        ("0 0 ? * SUNL *", "0 0 * * L0"),
        # all days of the month restrict nothing, for which Dagster needs a star
        ("0 0 */1 * MON *", "0 0 * * MON"),
        ("0 0 1-31 * MON *", "0 0 * * MON"),
        ("0 0 15 * SUN-SAT *", "0 0 15 * *"),
    ],
)
def test_conversion(schedule: str, expected: str) -> None:
    assert dagster_cron(schedule) == expected


@pytest.mark.parametrize(
    ("schedule", "message", "hint"),
    [
        ("", "The cron expression '' does not have five or six fields.", "end with the year."),
        ("0 0 * *", "does not have five or six fields.", "minute, hour, day of month"),
        ("0 0 0 * * ? *", "does not have five or six fields.", "minute, hour, day of month"),
        ("@reboot", "does not have five or six fields.", "minute, hour, day of month"),
        ("rate(5 minutes)", "does not have five or six fields.", "minute, hour, day of month"),
        ("60 * * * *", "for the minute does not take '60'.", "Write 0 to 59, a list,"),
        ("0 24 * * ? *", "for the hour does not take '24'.", "Write 0 to 23, a list,"),
        ("0 0 0 * ? *", "for the day of month does not take '0'.", "Write 1 to 31, a list,"),
        ("0 0 1 13 ? *", "for the month does not take '13'.", "1 to 12 or from JAN to DEC,"),
        ("0 0 1 MON ? *", "for the month does not take 'MON'.", "1 to 12 or from JAN to DEC,"),
        ("0 0 * * 8", "for the day of week does not take '8'.", "0 to 6 or from SUN to SAT,"),
        ("0 0 ? * 8 *", "day of week 8 is not one of EventBridge.", "Write 1, which is Sunday,"),
        ("0 0 ? * 0-3 *", "day of week 0 is not one of EventBridge.", "Write 1, which is Sunday,"),
        ("0 0 1 * ? 1969", "for the year does not take '1969'.", "Write 1970 to 2199,"),
        ("*/0 * * * *", "for the minute does not take '*/0'.", "Write a number, *, or a list,"),
        ("? 0 * * ? *", "for the minute does not take '?'.", "Write a number, *, or a list,"),
        ("1,,2 0 * * *", "for the minute does not take ''.", "Write a number, *, or a list,"),
        ("*-5 0 * * *", "for the minute does not take '*-5'.", "Write a number, *, or"),
        ("R 0 * * *", "for the minute does not take 'R'.", "Write a number, *, or a list,"),
        ("٣ 0 * * *", "for the minute does not take '٣'.", "Write a number, *, or a list,"),
        ("0 0 ?,1 * ? *", "for the day of month does not take '?'.", "Write a number, *,"),
        ("0 0 1 1 ? 2025", "for the year '2025', and Dagster's schedules", "Write * for the year,"),
        ("0 0 1 1 ? 2024/2", "for the year '2024/2', and Dagster's", "Write * for the year,"),
        ("0 0 15W * ? *", "cannot express the day of month '15W'", "Write L, or the numbers"),
        ("0 0 LW * ? *", "cannot express the day of month 'LW'", "Write L, or the numbers"),
        ("0 0 L-3 * ? *", "cannot express the day of month 'L-3'", "Write L, or the numbers"),
        ("0 0 1,L * ? *", "cannot express the day of month '1,L'", "Write L, or the numbers"),
        ("0 0 ? * MON#6 *", "cannot express the day of week 'MON#6'", "Write MON#1 for the first"),
        ("0 0 ? * L5 *", "cannot express the day of week 'L5'", "L5 in five fields or 6L in six"),
        ("0 0 * * 5L", "cannot express the day of week '5L'", "L5 in five fields or 6L in six"),
        ("0 0 ? * TUE,MON#1 *", "cannot express the day of week 'TUE,MON#1'", "MON#1 for"),
        ("0 0 1 * MON *", "'1' and the day of week 'MON' are both", "Write ? for one of them."),
        ("0 0 L * 2#1 *", "'L' and the day of week '2#1' are both", "Write ? for one of them."),
        ("0 0 */2 * MON", "'*/2' and the day of week 'MON' are both", "or plain days for both."),
        ("0 0 1 * */2", "'1' and the day of week '*/2' are both", "or plain days for both."),
        ("0 0 */40 * MON", "'*/40' and the day of week 'MON' are", "or plain days for both."),
        ("0 0 1 * MON#1", "'1' and the day of week 'MON#1' are both", "or plain days for both."),
        ("0 0 31 4,6 ? *", "Month '4,6' never has a day '31'", "or L for the last day"),
        ("0 0 30,31 FEB *", "Month 'FEB' never has a day '30,31'", "or L for the last day"),
        ("0 0 31 9 MON", "Month '9' never has a day '31'", "or L for the last day"),
    ],
)
def test_refusal(schedule: str, message: str, hint: str) -> None:
    with pytest.raises(UnsupportedCron) as caught:
        dagster_cron(schedule)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert str(caught.value) == f"{caught.value.message} {caught.value.hint}"


def test_what_dagster_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "_from_unix", lambda *fields: " ".join(fields))
    with pytest.raises(UnsupportedCron, match="Dagster does not take the cron expression '61 "):
        dagster_cron("61 * * * *")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"weekly": True}, "0 0 * * SUN"),
        ({"daily": True}, "0 0 * * *"),
        ({"hourly": True}, "0 * * * *"),
        ({"cron": "0 6 ? * 2 *"}, "0 6 * * MON"),
    ],
    ids=str,
)
def test_schedules_of_metaflow(attributes: dict[str, object], expected: str) -> None:
    decorator = ScheduleDecorator(attributes=attributes)
    decorator.flow_init(None, None, None, None, None, None, None, None)
    assert dagster_cron(decorator.schedule) == expected


@pytest.mark.parametrize("schedule", ["0 12 29 2 ? *", "0 12 29 2 *"])
def test_a_leap_day_is_kept_on_its_own_morning(schedule: str) -> None:
    first = next(ticks(dagster_cron(schedule), dt.datetime(2024, 2, 29, 6)))
    assert first.date() == dt.date(2024, 2, 29)


def test_plain_days_of_month_and_week_are_either_in_five_fields() -> None:
    converted = dagster_cron("0 0 1 * MON")
    expected = days("*", "1", "?", 2024) | days("*", "?", "MON", 2024)
    assert days_in_dagster(converted, 2024) == expected


@pytest.mark.parametrize("name", ["UTC", "utc", "Europe/Berlin", "America/Los_Angeles"])
def test_timezone(name: str) -> None:
    check_timezone(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "such as Europe/Berlin or "),
        ("europe/berlin", "such as Europe/Berlin or "),
        ("", "such as Europe/Berlin."),
        ("localtime", "Write its name in the IANA database"),
        ("Europe", "Write its name in the IANA database"),
        ("../Europe/Berlin", "such as Europe/Berlin or "),
    ],
)
def test_refused_timezone(name: str, hint: str) -> None:
    with pytest.raises(UnsupportedCron) as caught:
        check_timezone(name)
    assert caught.value.message == f"The timezone {name!r} of the schedule is not known."
    assert hint in caught.value.hint


def test_a_timezone_that_dagster_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron.zoneinfo, "available_timezones", lambda: {"Mars/Olympus"})
    with pytest.raises(UnsupportedCron, match="The timezone 'Mars/Olympus'"):
        check_timezone("Mars/Olympus")
