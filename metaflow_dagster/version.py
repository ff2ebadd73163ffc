"""The one place where the version is written."""

VERSION = "0.1.0"
SERIES = ".".join(VERSION.split(".")[:2])  # releases of which a file takes the runtime of any
