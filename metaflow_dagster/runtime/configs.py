"""The values of the flow's Configs, as its processes get them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, eq=False)
class FlowConfigs:
    """Configs by name: the value, and whether it is plain text or what was parsed of it."""

    values: Mapping[str, tuple[Any, bool]]

    def environment(self, directory: str) -> dict[str, str]:
        """Environment that gives the Configs to a process, with a file in a directory."""
        file = Path(directory, "configs")
        file.write_text(json.dumps({"user_configs": self.values}), encoding="utf-8")
        names = {name: f"kv.{name}" for name in self.values}  # means: it stands in that file
        return {
            "METAFLOW_LOCAL_CONFIG_FILE": str(file),
            "METAFLOW_FLOW_CONFIG_VALUE": json.dumps(names),
        }
