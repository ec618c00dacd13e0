"""Parameters from the query and the body of a request: the same names, the same checks."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from service import problems
from service.errors import InvalidParameter

Parameters = TypeVar("Parameters", bound=BaseModel)


def combine(
    kind: type[Parameters], query: Sequence[tuple[str, str]], body: Sequence[tuple[str, str]]
) -> Parameters:
    """The parameters of both places, each given as (name, text).

    A parameter may be given twice if both values mean the same. Raises InvalidParameter for two
    values, and for a name or a value that is not allowed.
    """
    values: dict[str, str] = {}
    for name, text in (*query, *body):
        if name in values and _meaning(kind, name, values[name]) != _meaning(kind, name, text):
            raise InvalidParameter(
                f"{name[:100]}: is given twice, as {values[name][:100]!r} and {text[:100]!r}; "
                "give it once"
            )
        values[name] = text
    return validated(kind, values)


def _meaning(kind: type[Parameters], name: str, text: str) -> Any:
    return getattr(validated(kind, {name: text}), name)


def validated(kind: type[Parameters], values: dict[str, str]) -> Parameters:
    """The parameters of a kind from their texts; raises InvalidParameter."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise problems.of_errors(error.errors(include_url=False)) from None
