"""Metaflow's effective backend configuration, as far as a generated file may hold it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from metaflow import metaflow_config_funcs
from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL

from metaflow_dagster.diagnostics import Diagnostic
from metaflow_dagster.frontend.credentials import holds_secret, is_plain_setting
from metaflow_dagster.frontend.session import Session
from metaflow_dagster.ir.flow import Backend

# Settings that decide where a step finds data, code and services. An allowlist: whatever is not
# named here comes from the environment in which the steps run. (KUBERNETES_SECRETS are names.)
_SETTINGS = (
    "AZURE_STORAGE_BLOB_SERVICE_ENDPOINT",
    "BATCH_CONTAINER_IMAGE",
    "BATCH_CONTAINER_REGISTRY",
    "BATCH_JOB_QUEUE",
    "CARD_AZUREROOT",
    "CARD_GSROOT",
    "CARD_LOCALROOT",
    "CARD_S3ROOT",
    "DATASTORE_SYSROOT_AZURE",
    "DATASTORE_SYSROOT_GS",
    "DATASTORE_SYSROOT_S3",
    "DATATOOLS_AZUREROOT",
    "DATATOOLS_GSROOT",
    "DATATOOLS_LOCALROOT",
    "DATATOOLS_S3ROOT",
    "DEFAULT_AWS_CLIENT_PROVIDER",
    "DEFAULT_AZURE_CLIENT_PROVIDER",
    "DEFAULT_GCP_CLIENT_PROVIDER",
    "DEFAULT_SECRETS_BACKEND_TYPE",
    "DEFAULT_SECRETS_ROLE",
    "ECS_FARGATE_EXECUTION_ROLE",
    "ECS_S3_ACCESS_IAM_ROLE",
    "KUBERNETES_CONTAINER_IMAGE",
    "KUBERNETES_CONTAINER_REGISTRY",
    "KUBERNETES_NAMESPACE",
    "KUBERNETES_SECRETS",
    "KUBERNETES_SERVICE_ACCOUNT",
    "S3_ENDPOINT_URL",
    "S3_SERVER_SIDE_ENCRYPTION",
    "S3_VERIFY_CERTIFICATE",
    "SERVICE_INTERNAL_URL",
    "SERVICE_URL",
    "UI_URL",
)


def read_backend(session: Session) -> Backend:
    """The backend of the session; see `ir.Backend` for what None means."""
    state = session.state
    datastore = state.flow_datastore.TYPE
    root = session.option_value("datastore_root")
    if root is None and datastore != "local":
        root = state.flow_datastore.datastore_root
    return Backend(
        metadata=state.metadata.TYPE,
        datastore=datastore,
        datastore_root=os.path.abspath(root) if root and datastore == "local" else root,
        environment=state.environment.TYPE,
        event_logger=state.event_logger.TYPE,
        monitor=state.monitor.TYPE,
        local_sysroot=os.path.abspath(DATASTORE_SYSROOT_LOCAL) if DATASTORE_SYSROOT_LOCAL else None,
        settings=tuple(_settings()),
    )


def check_backend(session: Session) -> Iterator[Diagnostic]:
    """Refuse a datastore root with a credential, as the generated file would hold it."""
    root = read_backend(session).datastore_root
    if root is not None and holds_secret(root):
        yield Diagnostic(
            "The root of the datastore has a credential in it, which would stand in the generated "
            "file.",
            "Give the root without it, and the credential in the environment of the steps.",
        )


def _settings() -> Iterator[tuple[str, str]]:
    configured = dict(metaflow_config_funcs.config_values())
    for name in _SETTINGS:
        value = configured.get(f"METAFLOW_{name}")
        if value and is_plain_setting(str(value)):
            yield f"METAFLOW_{name}", str(value)
