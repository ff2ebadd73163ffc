"""Names of Dagster that files of jobs use when they run."""

from metaflow_dagster.internals.lookup import Attribute, Function, Internal, Method, Variable


class DagsterExecution:
    """The execution of a run's ops, by the executor `threads`."""

    active = Function(
        "dagster._core.execution.plan.active",
        "ActiveExecution",
        "execution_plan retry_mode tag_concurrency_limits instance_concurrency_context",
    )
    check_for_interrupts = Method(active.module, "ActiveExecution.check_for_interrupts", "")
    concurrency_events = Method(
        active.module, "ActiveExecution.concurrency_event_iterator", "plan_context"
    )
    known_state = Method(active.module, "ActiveExecution.get_known_state", "")
    steps_to_execute = Method(active.module, "ActiveExecution.get_steps_to_execute", "limit")
    handle_event = Method(active.module, "ActiveExecution.handle_event", "dagster_event")
    is_complete = Attribute(active.module, "ActiveExecution.is_complete")
    mark_interrupted = Method(active.module, "ActiveExecution.mark_interrupted", "")
    plan_events = Method(active.module, "ActiveExecution.plan_events_iterator", "job_context")
    verify_complete = Method(
        active.module, "ActiveExecution.verify_complete", "job_context step_key"
    )
    pools = Function(
        "dagster._core.execution.plan.instance_concurrency_context",
        "InstanceConcurrencyContext",
        "instance dagster_run",
    )
    run_iterable = Function(
        "dagster._core.execution.api",
        "ExecuteRunWithPlanIterable",
        "execution_plan iterator execution_context_manager",
    )
    context_manager = Function(
        "dagster._core.execution.context_creation_job",
        "PlanExecutionContextManager",
        "job execution_plan run_config dagster_run instance retry_mode raise_on_error "
        "output_capture",
    )
    for_step = Method(
        "dagster._core.execution.context.system",
        "PlanExecutionContext.for_step",
        "step known_state",
    )
    op_events = Function(
        "dagster._core.execution.plan.execute_plan",
        "dagster_event_sequence_for_step",
        "step_context",
    )
    hook_events = Function(op_events.module, "_trigger_hook", "step_context step_event_list")
    step_handle = Function("dagster._core.execution.plan.handle", "StepHandle", "node_handle key")
    resolved_by = Attribute(
        "dagster._core.execution.plan.step", "UnresolvedMappedExecutionStep.resolved_by_step_keys"
    )
    retry_kind = Function(
        "dagster._core.execution.retries", "RetryMode.from_config", "config_value"
    )
    retries_option = Function(retry_kind.module, "get_retries_config", "")
    limits_option = Function(
        "dagster._core.execution.tags", "get_tag_concurrency_limits_config", ""
    )


class DagsterEvents:
    """Events that ops and executors record."""

    of_op = Function(
        "dagster._core.events",
        "DagsterEvent",
        "event_type_value job_name step_handle node_handle step_kind_value message",
    )
    of_engine = Function(
        of_op.module, "DagsterEvent.engine_event", "plan_context message event_specific_data"
    )
    capture_logs = Function(
        of_op.module, "DagsterEvent.capture_logs", "job_context step_keys log_key log_context"
    )
    failing = Function(of_op.module, "EngineEventData", "error")
    in_process = Function(of_op.module, "EngineEventData.in_process", "pid")
    interrupted = Function(of_op.module, "EngineEventData.interrupted", "steps_interrupted")


class DagsterReexecution:
    """The plan of a run that executes another from its failure."""

    subset = Method(
        "dagster._core.execution.plan.plan",
        "ExecutionPlan.build_subset_plan",
        "step_keys_to_execute job_def resolved_run_config",
    )
    with_steps = Method(subset.module, "ExecutionPlan._replace", "step_dict step_dict_by_key")
    with_keys = Method(
        "dagster._core.storage.dagster_run", "DagsterRun._replace", "step_keys_to_execute"
    )
    from_failure = Function(
        "dagster._core.execution.plan.state",
        "KnownExecutionState.build_resume_retry_reexecution",
        "instance parent_run",
    )
    mapped_handle = Internal("dagster._core.execution.plan.handle", "ResolvedFromDynamicStepHandle")
    run_config = Function(
        "dagster._core.system_config.objects", "ResolvedRunConfig.build", "job_def run_config"
    )


class DagsterOpLogs:
    """The output of ops as Dagster keeps it."""

    file_key = Function("dagster._core.execution.compute_logs", "create_compute_log_file_key", "")
    captured = Function(
        "dagster._core.storage.compute_log_manager", "CapturedLogContext", "log_key"
    )
    streams = Internal(captured.module, "ComputeIOType")
    key_of_run = Method(
        captured.module, "ComputeLogManager.build_log_key_for_run", "run_id step_key"
    )
    open_stream = Method(captured.module, "ComputeLogManager.open_log_stream", "log_key io_type")
    in_cloud = Internal(
        "dagster._core.storage.cloud_storage_compute_log_manager", "CloudStorageComputeLogManager"
    )
    upload = Method(in_cloud.module, f"{in_cloud.path}._on_capture_complete", "log_key")
    upload_meanwhile = Method(in_cloud.module, f"{in_cloud.path}._poll_for_local_upload", "log_key")
    local_manager = Attribute(in_cloud.module, f"{in_cloud.path}.local_manager")
    local = Internal("dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager")
    completion_file = Method(local.module, f"{local.path}.complete_artifact_path", "log_key")


class DagsterErrors:
    """Errors as Dagster shows them."""

    of_process = Internal("dagster._core.errors", "DagsterUserCodeProcessError")
    info = Function("dagster._utils.error", "SerializableErrorInfo", "message stack cls_name")
    being_handled = Function(info.module, "serializable_error_info_from_exc_info", "exc_info")


class DagsterEventLog:
    """The event log, of a run in a file of SQLite or of all on a database server."""

    storage = Internal("dagster._core.storage.event_log", "SqliteEventLogStorage")
    connect = Method(storage.module, f"{storage.path}._connect", "shard")
    address = Method(storage.module, f"{storage.path}.conn_string_for_shard", "shard_name")
    lock = Variable(storage.module, f"{storage.path}._db_lock")
    engine = Variable(storage.module, "SqlEventLogStorage._engine")
    table = Internal("dagster._core.storage.event_log.schema", "SqlEventLogStorageTable")
    row = Method(storage.module, f"{storage.path}._event_to_row", "event")
    store = Method(storage.module, f"{storage.path}.store_event", "event")


class DagsterTimes:
    """Times that a cron expression names."""

    after = Function(
        "dagster._utils.schedules",
        "cron_string_iterator",
        "start_timestamp cron_string execution_timezone",
    )


class DagsterOpProcesses:
    """The processes that Dagster starts for ops, one for each."""

    main = Internal(
        "dagster._core.executor.child_process_executor", "_execute_command_in_child_process"
    )
    # Those that it imports. If some are missing, it does not matter. Metaflow must not be among
    # them: it reads its settings when it is imported.
    modules = (
        "dagster._cli",
        "dagster._core.execution.run_metrics_thread",
        "dagster._core.storage.local_compute_log_manager",
        "dagster._core.storage.sqlite_storage",
        "requests",
        "upath",
        "upath.core",
    )
