"""What a generated definitions file does at run time.

The compiler copies from here what a file needs: the functions its ops call, everything those
use, and the constants, whose values it replaces. So this is what runs in production, and it is
imported, typed and tested like any other code. It needs the standard library and Dagster; Metaflow
is imported where it is used, since importing it takes longer than loading a job.

Text that travels between ops is a task path, `run id/step/task id`, or a list of them.
"""
