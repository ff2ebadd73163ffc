"""Lowers a `Flow` to a `JobPlan`: which op runs where, and what feeds it.

Input: `ir.Flow`. Output: `ir.JobPlan`. Pure: no I/O, no Metaflow, no Dagster.

Every step becomes one op. An op lives in a lane: the root lane runs once, the lane of a dynamic
output once an item. What Dagster cannot wire is led through glue ops in the root lane:

    start ─foreach▶ outer ─foreach▶ inner ─▶ inner_join ─▶ outer_join ─▶ end

    root lane             op_start, fan_out_outer, regroup_inner_join, op_outer_join, op_end
    lane of op_start      op_outer          (mapping keys 0, 1, …)
    lane of fan_out_outer op_inner          (mapping keys 0_0, 0_1, …)
    lane of regroup_…     op_inner_join     (mapping keys 0, 1, …)
"""

from metaflow_dagster.planner.check import check_plan
from metaflow_dagster.planner.plan import plan_job
from metaflow_dagster.planner.pods import check_pods, in_pods, without_pods
from metaflow_dagster.planner.show import show_plan

__all__ = ["check_plan", "check_pods", "in_pods", "plan_job", "show_plan", "without_pods"]
