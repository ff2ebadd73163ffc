"""The two intermediate representations of the compiler: a flow, and the job planned for it."""
