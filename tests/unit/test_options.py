from __future__ import annotations

import pytest
from metaflow.tagging_util import MAX_TAG_SIZE, MAX_USER_TAG_SET_SIZE

from metaflow_dagster.option_checks import MAX_TAG_LENGTH, MAX_TAGS, check_options
from metaflow_dagster.options import Options


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        pytest.param(Options(name=""), ["--name '' is not a name"], id="empty name"),
        pytest.param(Options(name="my-job"), ["--name 'my-job'"], id="dash in the name"),
        pytest.param(Options(name="config"), ["--name 'config'"], id="reserved name"),
        pytest.param(Options(name="größe"), ["--name 'größe'"], id="name not ASCII"),
        pytest.param(Options(name="a\n"), ["--name 'a\\n'"], id="line end after the name"),
        pytest.param(Options(tags=("",)), ["--tag '' is malformed"], id="empty tag"),
        pytest.param(Options(tags=(" \t",)), ["--tag ' \\t' is malformed"], id="blank tag"),
        pytest.param(Options(tags=("a\nb",)), ["--tag 'a\\nb'"], id="line end in the tag"),
        pytest.param(Options(tags=("a\0",)), ["--tag 'a\\x00'"], id="NUL in the tag"),
        pytest.param(Options(tags=("\udc80",)), ["--tag '\\udc80'"], id="tag that is no UTF-8"),
        pytest.param(Options(tags=("x" * 501,)), ["has 501 characters"], id="long tag"),
        pytest.param(Options(tags=tuple(map(str, range(51)))), ["51 tags"], id="many tags"),
        pytest.param(Options(namespace=" "), ["--namespace ' '"], id="blank namespace"),
        pytest.param(Options(namespace="a\0"), ["--namespace 'a\\x00'"], id="NUL in it"),
        pytest.param(Options(namespace="\ud800"), ["--namespace '\\ud800'"], id="no UTF-8"),
        pytest.param(Options(max_workers=0), ["--max-workers 0 is too small"], id="no workers"),
        pytest.param(Options(workflow_timeout=-1), ["--workflow-timeout -1"], id="timeout"),
        pytest.param(
            Options(executor="cluster"), ["--executor 'cluster' is unknown"], id="no executor"
        ),
        pytest.param(
            Options(executor="a.b:c d"), ["--executor 'a.b:c d' is unknown"], id="no attribute"
        ),
        pytest.param(
            Options(executor="if:class"), ["--executor 'if:class' is unknown"], id="keywords"
        ),
        pytest.param(Options(pools=("a b",)), ["--pool 'a b' is not a name"], id="blank in a pool"),
        pytest.param(Options(pools=("fit=",)), ["--pool '' is not a name"], id="empty pool"),
        pytest.param(Options(pools=("a\0",)), ["--pool 'a\\x00' is not a name"], id="NUL in it"),
        pytest.param(
            Options(pools=("a", "fit=b", "b")),
            ["more than one --pool for all steps"] * 2,
            id="pools",
        ),
        pytest.param(
            Options(executor="celery", max_workers=2),
            ["--max-workers does not go with --executor celery"],
            id="workers of Celery",
        ),
        pytest.param(
            Options(executor="in_process", max_workers=2),
            ["--max-workers does not go with --executor in_process"],
            id="workers in one process",
        ),
        pytest.param(
            Options(executor="multiprocess", warm_steps=True),
            ["--warm-steps does not go with --executor multiprocess"],
            id="warm steps of processes",
        ),
        pytest.param(
            Options(executor="in_process", warm_steps=True),
            ["--warm-steps does not go with --executor in_process"],
            id="warm steps in one process",
        ),
        pytest.param(
            Options(preload=("a b", "if", "a..b", "", "auto", "a.b"), warm_steps=True),
            [f"--preload {name!r} is not a name of a module" for name in ("a b", "if", "a..b", "")],
            id="no modules",
        ),
        pytest.param(
            Options(preload=("pandas",), warm_steps=False),
            ["--preload pandas says nothing here"],
            id="modules without warm steps",
        ),
        *(
            pytest.param(
                Options(preload=("auto",), executor=executor),
                ["--preload auto says nothing here"],
                id=f"modules with {executor}",
            )
            for executor in ("multiprocess", "in_process", "k8s", "a.b:c")
        ),
        pytest.param(
            Options(name="a b", tags=("", "ok", "\n"), max_workers=0, workflow_timeout=0),
            ["--name", "--tag ''", "--tag '\\n'", "--workflow-timeout", "--max-workers"],
            id="all at once",
        ),
    ],
)
def test_refused(options: Options, messages: list[str]) -> None:
    diagnostics = list(map(str, check_options(options)))
    assert len(diagnostics) == len(messages)
    for diagnostic, message in zip(diagnostics, messages, strict=True):
        assert message in diagnostic
        assert diagnostic.isprintable()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(Options(), id="none"),
        pytest.param(
            Options(
                name="job_1",
                tags=("team:search", "ü ✓"),
                decospecs=("retry",),
                namespace="",
                workflow_timeout=1,
                max_workers=1,
            ),
            id="all of them",
        ),
        pytest.param(Options(warm_steps=True), id="warm steps"),
        pytest.param(Options(executor="threads", warm_steps=True), id="warm steps of threads"),
        pytest.param(Options(tags=("a",) * 60), id="the same tag again"),
        pytest.param(Options(tags=tuple(map(str, range(50)))), id="just as many as may be"),
        pytest.param(Options(tags=("x" * 500,)), id="just as long as it may be"),
    ],
)
def test_accepted(options: Options) -> None:
    assert list(check_options(options)) == []


def test_limits_are_those_of_metaflow() -> None:
    assert (MAX_TAG_LENGTH, MAX_TAGS) == (MAX_TAG_SIZE, MAX_USER_TAG_SET_SIZE)
