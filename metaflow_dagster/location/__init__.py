"""Several flows in one code location: compiling them (process.py), and merging what comes out.

Every flow is compiled by its own command line, in a process of its own, since Metaflow resolves
configuration there and knows one flow a process. Nothing here imports Metaflow or Dagster.
"""
