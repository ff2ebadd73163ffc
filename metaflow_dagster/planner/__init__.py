"""Lowers a `Flow` to a `JobPlan`: which op runs where, and what feeds it.

Input: `ir.Flow`. Output: `ir.JobPlan`. Pure: no I/O, no Metaflow, no Dagster.
"""

from metaflow_dagster.planner.check import check_plan
from metaflow_dagster.planner.plan import plan_job

__all__ = ["check_plan", "plan_job"]
