"""Names of Dagster that the commands use which launch and follow runs."""

from metaflow_dagster.internals.lookup import Function, Internal, Method


class DagsterLoading:
    """A file's definitions, and the record of where they come from."""

    repository = Function(
        "dagster._core.definitions.reconstruct",
        "ReconstructableRepository.for_file",
        "file fn_name working_directory",
    )
    targets = Function(
        "dagster._core.workspace.autodiscovery",
        "loadable_targets_from_python_file",
        "python_file working_directory",
    )
    location = Function(
        "dagster._core.workspace.load",
        "location_origin_from_python_file",
        "python_file attribute working_directory",
    )
    # The class has moved within Dagster; it can be imported from here before and after.
    remote_repository = Function(
        "dagster._core.remote_representation.handle",
        "RemoteRepositoryOrigin",
        "code_location_origin repository_name",
    )
    job = Function("dagster._utils.hosted_user_process", "recon_job_from_origin", "origin")


class DagsterRunProcess:
    """The process of a run, as Dagster's own launcher has it."""

    capture_interrupts = Function("dagster._utils.interrupts", "capture_interrupts", "")
    execute = Function(
        "dagster._grpc.impl", "core_execute_run", "recon_job dagster_run instance inject_env_vars"
    )


class DagsterCancellation:
    """The call by which Dagster's UI ends a run."""

    address_tag = Internal("dagster._core.storage.tags", "GRPC_INFO_TAG")
    servicer = Internal("dagster._grpc.__generated__.dagster_api_pb2_grpc", "DagsterApiServicer")
    serve = Function(servicer.module, "add_DagsterApiServicer_to_server", "servicer server")
    reply = Internal("dagster._grpc.__generated__.dagster_api_pb2", "CancelExecutionReply")
    result = Function(
        "dagster._grpc.types",
        "CancelExecutionResult",
        "success message serializable_error_info",
    )
    serialize = Function("dagster._serdes", "serialize_value", "val")


class DagsterHome:
    """The errors of opening a home."""

    check_error = Internal("dagster._check", "CheckError")


class DagsterClient:
    """Dagster's client of a webserver."""

    execute = Method(
        "dagster_graphql.client.client", "DagsterGraphQLClient._execute", "query variables"
    )
