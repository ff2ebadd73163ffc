"""A Metaflow extension: a decorator that runs steps by another command, and one with a memory."""

STEP_DECORATORS_DESC = [
    ("sandbox", ".sandbox_decorator.SandboxDecorator"),
    ("illustrated", ".illustrated_decorator.IllustratedDecorator"),
]
