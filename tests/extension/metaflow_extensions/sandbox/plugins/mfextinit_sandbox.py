"""A Metaflow extension with a decorator that runs steps by another command."""

STEP_DECORATORS_DESC = [("sandbox", ".sandbox_decorator.SandboxDecorator")]
