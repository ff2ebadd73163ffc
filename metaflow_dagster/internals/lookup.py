"""How the names in the other modules here are looked up, used and checked.

Only these modules spell a private name of Dagster or Metaflow. Others use it through the table that
has it, so the tables say what this package expects of another release. A name is looked up when it
is used: to import a table imports nothing of Dagster or Metaflow.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from inspect import signature
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Internal:
    """The value of a module at a path, which leads through a class if there is a dot in it."""

    module: str
    path: str

    @property
    def attribute(self) -> str:
        """The last name of the path."""
        return self.path.rpartition(".")[2]

    def get(self) -> Any:
        """The value, such as a class; `ImportError` or `AttributeError` if there is none."""
        return attrgetter(self.path)(import_module(self.module))

    def is_there(self) -> bool:
        """Whether the installed release has it, and can use it as this package does."""
        try:
            self.check(self.get())
        except (ImportError, AttributeError, TypeError):
            return False
        return True

    def check(self, value: Any) -> None:
        """Raise `TypeError` if the value cannot be used as this package does."""


@dataclass(frozen=True)
class Attribute(Internal):
    """An attribute or property of the objects of a class."""

    def __call__(self, owner: Any) -> Any:
        """Its value for an object."""
        return getattr(owner, self.attribute)


@dataclass(frozen=True)
class Variable(Attribute):
    """An attribute that objects of a class have, and the class itself has not."""

    def get(self) -> Any:
        """The class: it takes an object to see more."""
        return Internal(self.module, self.path.rpartition(".")[0]).get()


@dataclass(frozen=True)
class Function(Internal):
    """Something that is called with a value for each of these parameters, by its name."""

    parameters: str

    @cached_property
    def keywords(self) -> list[str]:
        """The parameters one by one."""
        return self.parameters.split()

    def __call__(self, *values: Any) -> Any:
        """Call it with the values in the order of the parameters."""
        return self.get()(**dict(zip(self.keywords, values, strict=True)))

    def check(self, value: Any) -> None:
        """Raise `TypeError` if it cannot be called with the parameters."""
        signature(value).bind(**dict.fromkeys(self.keywords))


@dataclass(frozen=True)
class Method(Function):
    """A method of the objects of a class, whose first argument is the object."""

    def __call__(self, owner: Any, *values: Any) -> Any:
        """Call that of an object with the values in the order of the parameters."""
        arguments = dict(zip(self.keywords, values, strict=True))
        return getattr(owner, self.attribute)(**arguments)

    def check(self, value: Any) -> None:
        """Raise `TypeError` if it cannot be called with an object and the parameters."""
        signature(value).bind(None, **dict.fromkeys(self.keywords))


def lacking_names(*tables: type) -> list[str]:
    """The names in some tables that the installed releases do not have, or not as used here."""
    return [
        f"{name.module}.{name.path}"
        for table in tables
        for name in vars(table).values()
        if isinstance(name, Internal) and not name.is_there()
    ]
