"""What running and compiling a flow costs: Metaflow's own scheduler against Dagster.

    python -m tests.bench --help

`flows` are what is run, `runners` what runs them, and a `work` names which of them meet. `turns`
lets them take turns; `execution` and `processes` take times and memory; `results`, `targets` and
`report` say what came out.
"""
