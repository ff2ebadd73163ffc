"""Names of Metaflow, for reading flows and for starting and following their tasks."""

from metaflow_dagster.internals.lookup import Attribute, Function, Method, Variable


class MetaflowFlow:
    """Metaflow's class of a flow, and that of a flow mutator."""

    graph = Variable("metaflow.flowspec", "FlowSpec._graph")
    new_graph = Attribute("metaflow.flowspec", "FlowSpec._init_graph")
    state = Variable("metaflow.flowspec", "FlowSpec._flow_state")
    decorators = Attribute("metaflow.flowspec", "FlowSpec._flow_decorators")
    parameters = Attribute("metaflow.flowspec", "FlowSpec._get_parameters")
    mutated = Variable("metaflow.user_decorators.user_flow_decorator", "FlowMutator._flow_cls")


class MetaflowDecorating:
    """Metaflow's treatment of the decorators of `--with`."""

    attach = Function("metaflow.decorators", "_attach_decorators", "flow decospecs")
    process = Function(
        "metaflow.decorators",
        "_process_late_attached_decorator",
        "deco_names flow graph environment flow_datastore logger",
    )


class MetaflowReading:
    """Other parts of Metaflow that it takes to read a flow and to pack its code."""

    checks = Variable("metaflow.lint", "FlowLinter._checks")
    check_type = Method("metaflow.parameters", "DeployTimeField._check_type", "val deploy_time")
    user_files = Method("metaflow.package", "MetaflowPackage._user_code_tuples", "")


class MetaflowCurrent:
    """The knowledge of Metaflow's runtime about a task while it runs."""

    update = Method("metaflow.metaflow_current", "Current._update_env", "env")
    update_system = Attribute("metaflow.system_context", "SystemContext._update")


class MetaflowRuns:
    """Runs by Metaflow's client."""

    is_checked = False  # whether runs are looked for in the user's namespace only
    run = Function("metaflow.client.core", "Run", "pathspec _namespace_check _current_metadata")
    step = Function("metaflow.client.core", "Step", "pathspec _namespace_check")


class MetaflowArtifacts:
    """The values that Metaflow stores of a task besides the user's artifacts, by name."""

    control_tasks = "_control_mapper_tasks"
    splits = "_foreach_num_splits"
    foreach_variable = "_foreach_var"
    is_finished = "_task_ok"
    transition = "_transition"
    of_results = (control_tasks, splits, foreach_variable, is_finished, transition)
    parallel_nodes = "_parallel_ubf_iter"
