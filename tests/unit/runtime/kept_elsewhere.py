"""Keeps compute logs in another place, as Dagster's managers for clouds do: in a directory."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster._core.storage.cloud_storage_compute_log_manager import CloudStorageComputeLogManager
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData


class LogsInDirectory(CloudStorageComputeLogManager, ConfigurableClass):  # type: ignore[type-arg]
    """Copies logs to a directory when they are complete."""

    def __init__(self, directory: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.directory = Path(directory)
        self.local = LocalComputeLogManager(f"{directory}-local")
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        return {"directory": str}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "LogsInDirectory":
        return cls(inst_data=inst_data, **config_value)

    @property
    def local_manager(self) -> LocalComputeLogManager:
        return self.local

    @property
    def upload_interval(self) -> int | None:
        return 1

    def place(self, log_key: Sequence[str], io_type: ComputeIOType) -> Path:
        return self.directory / f"{log_key[-1]}.{IO_TYPE_EXTENSION[io_type]}"

    def upload_to_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        if not partial:
            self.directory.mkdir(exist_ok=True)
            local = self.local.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type])
            shutil.copy(local, self.place(log_key, io_type))

    def cloud_storage_has_logs(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> bool:
        return not partial and self.place(log_key, io_type).exists()

    def download_from_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        local = self.local.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type])
        shutil.copy(self.place(log_key, io_type), local)

    def delete_logs(
        self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None
    ) -> None:
        raise NotImplementedError

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str | None:
        return None

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        return str(self.place(log_key, io_type))
