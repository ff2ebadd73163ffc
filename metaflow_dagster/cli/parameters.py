"""A command that takes the flow's parameters as options, as Metaflow's own `run` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metaflow._vendor import click
from metaflow._vendor.click.core import iter_params_for_processing

from metaflow_dagster.frontend.parameters import parameter_kinds
from metaflow_dagster.internals.metaflow import MetaflowFlow
from metaflow_dagster.operate.parameters import given_config

PARAMETERS = "parameters"


class ParametersCommand(click.Command):
    """A command whose function gets `parameters`: Dagster's configuration of those given.

    To be decorated with Metaflow's `add_custom_parameters`. Unlike there, what is not given is
    left out, and a parameter that is called as an option of the command itself can be given with
    `--run-param`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Click's `Command.parse_args`, which would fill in the parameters' defaults."""
        parser = self.make_parser(ctx)
        given, rest, order = parser.parse_args(args=list(args))
        flow_options = self.flow_options(ctx)
        own = [each for each in self.get_params(ctx) if each not in flow_options]
        for param in iter_params_for_processing(order, own):
            _, rest = param.handle_parse_result(ctx, given, rest)
        if rest and not ctx.resilient_parsing:
            ctx.fail(f"Got unexpected extra argument ({' '.join(rest)})")
        if not ctx.resilient_parsing:
            ctx.params[PARAMETERS] = self._config(ctx, given)
        ctx.args = rest
        return list(rest)

    def flow_options(self, ctx: Any) -> Sequence[Any]:
        """The options that Metaflow has added for the flow's parameters."""
        return [param for param in self.params if param not in self._own_options()]

    def _own_options(self) -> Sequence[Any]:
        # Metaflow keeps them here when it adds the flow's.
        return getattr(self, "original_params", None) or self.params or ()

    def has_partition(self, given: Mapping[str, Any]) -> bool:
        """Whether a partition may give what is lacking; Dagster says so if it does not."""
        return bool(given.get("partition"))

    def _config(self, ctx: Any, given: Mapping[str, Any]) -> dict[str, object]:
        texts = dict(self._texts(ctx, given))
        kinds = parameter_kinds(ctx.obj.flow)
        config: dict[str, object] = {}
        for option in self.flow_options(ctx):
            # An option's first name is that of its parameter, with dashes and capitals as it has.
            name = option.opts[0].removeprefix("--")
            if option.name in texts:
                text = texts[option.name]
                config[name] = given_config(kinds[name], text, option.type_cast_value(ctx, text))
            elif option.required and not self.has_partition(given):
                hint = f"If {name} is the key of a partition, give --partition instead."
                raise click.MissingParameter(hint, ctx=ctx, param=option)
        return config

    def _texts(self, ctx: Any, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The parameters that were given, by the names of their options."""
        own = {option.name for option in self._own_options()}
        options = {option.name: option for option in self.flow_options(ctx)}
        for name, option in options.items():
            text = given.get(name) if name not in own else None
            text = text if text is not None else option.value_from_envvar(ctx)
            if text is not None:
                yield name, text
        for pair in given.get("run_params") or ():
            name, equals, text = pair.partition("=")
            key = name.replace("-", "_").lower()
            if not equals or key not in options:
                ctx.fail(_unusable(pair, sorted(option.opts[0] for option in options.values())))
            yield key, text


class PartitionedCommand(ParametersCommand):
    """A command whose run has a partition, and gets parameters by `--run-param` alone.

    Metaflow's Deployer refuses to call any other without the parameters that are required, of which
    a partition gives some. It is not to be decorated with `add_custom_parameters`.
    """

    def flow_options(self, ctx: Any) -> Sequence[Any]:
        """The options that Metaflow would add (metaflow/runner/click_api.py: extract_command)."""
        parameters = [parameter for _, parameter in MetaflowFlow.parameters(ctx.obj.flow)()]
        return [
            click.Option((f"--{parameter.name}",), **parameter.kwargs)
            for parameter in parameters
            if not parameter.IS_CONFIG_PARAMETER
        ]

    def has_partition(self, given: Mapping[str, Any]) -> bool:
        """Always."""
        return True


def _unusable(pair: str, options: Sequence[str]) -> str:
    known = ", ".join(option.removeprefix("--") for option in options) or "none"
    return (
        f"--run-param {pair} is not of the form PARAMETER=VALUE. The flow's parameters are: {known}"
    )
