"""S3: moto's server in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "flows"
SECONDS_TO_START = 30


@dataclass(frozen=True)
class S3:
    """A server that runs, with an empty bucket."""

    endpoint: str

    @property
    def settings(self) -> Mapping[str, str]:
        """Metaflow's settings with which flows keep their data here."""
        return {
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{BUCKET}/metaflow",
            "METAFLOW_S3_ENDPOINT_URL": self.endpoint,
        }

    def client(self) -> Any:
        """A client of boto3."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key="tester",
        )

    def keys(self) -> list[str]:
        """The keys of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@contextmanager
def s3_server(directory: Path) -> Iterator[S3]:
    """Run a server for a while; it tells in a file in the directory what it is asked."""
    log = directory / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        s3 = S3(_address(process, log))
        s3.client().create_bucket(Bucket=BUCKET)
        yield s3
    finally:
        process.terminate()
        process.wait(10)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server says it listens."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        match = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if match:
            return match[1]
        time.sleep(0.05)
    raise RuntimeError(f"moto did not start: {log.read_text()}")
