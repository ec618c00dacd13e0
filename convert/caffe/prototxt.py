"""From prototxt text to messages, with line numbers and a warning for unknown fields; and back.

The grammar is protobuf's text format. Protobuf itself splits the text into tokens. This module
reads the fields, because the library's parser stops at an unknown field or forgets it, and keeps no
line numbers. Errors are those of C++'s `TextFormat::Parse`, which Caffe calls from
`ReadProtoFromTextFile` (src/caffe/util/io.cpp), except that unknown fields are warnings.
"""

import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.files import other_kind, read_bytes

M = TypeVar("M", bound=Message)

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
"""How deep messages may be nested; Caffe's own schema needs eight."""
MAX_ERRORS = 50
"""A file with more mistakes than this is not a prototxt."""

_INTEGERS = frozenset(
    [
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    ]
)
_FLOATS = frozenset([FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE])


@dataclass(frozen=True)
class Parsed(Generic[M]):
    """A message, with information about its text."""

    message: M
    lines: Mapping[str, Sequence[int]]
    """By name of a top-level field: the line (1-based) of each time it occurs, in order."""
    warnings: tuple[Diagnostic, ...]
    """One for each field that the schema lacks, with its place."""
    deferred: Mapping[tuple[str, int], tuple[Diagnostic, ...]] = field(default_factory=dict)
    """What is wrong in a deferred field, by its name and its position among those of that name."""


def read(path: Path, kind: type[M], *, defer: Collection[str] = ()) -> Parsed[M]:
    """Parse the file as a message of type `kind`, such as NetParameter or SolverParameter.

    Raises CaffeError as `parse` does, and for a file that can't be read.
    """
    return parse(read_text(path), kind, source=str(path), defer=defer)


def read_text(path: Path) -> str:
    """The file's text, as UTF-8 or else as Latin-1: comments come in any encoding."""
    data = read_bytes(path, MAX_BYTES, "prototxt")
    if kind := other_kind(data[:64]):
        raise CaffeError(str(path), [Diagnostic(kind)])
    if b"\0" in data:
        advice = "is this the caffemodel? The prototxt comes first"
        raise CaffeError(str(path), [Diagnostic(f"a binary file, not a prototxt; {advice}")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse(
    text: str, kind: type[M], *, source: str = "prototxt", defer: Collection[str] = ()
) -> Parsed[M]:
    """Parse text as a message of type `kind`.

    A wrong value inside a top-level field that `defer` names is not raised, but returned as
    `deferred`: only the caller knows whether the layer counts. The field that is given twice has
    its last value.

    Raises CaffeError with the place of every other wrong value. An error of structure, such as an
    unbalanced brace or a missing colon, ends the reading, so it is the last of the list. A text
    that has no field of `kind` is an error too.
    """
    reader = _Reader(text, defer)
    message = kind()
    broken = False
    try:
        with warnings.catch_warnings():
            # Python warns of a backslash that starts no escape, as in "C:\sets"; it is kept.
            warnings.simplefilter("ignore", DeprecationWarning)
            reader.fields(message, end=None, depth=0)
    except text_format.ParseError as error:
        reader.errors.append(reader.diagnostic(error))
        broken = True
    except _TooManyError:
        reader.errors.append(Diagnostic("and more: is this file really a prototxt?"))
        broken = True
    if not reader.lines:
        what = f"not a prototxt of a {kind.DESCRIPTOR.name}"
        cause = str(reader.errors[0]) if reader.errors else "it has no field that Caffe knows"
        raise CaffeError(source, [Diagnostic(f"{what}: {cause}")])
    if broken:
        deferred = [error for errors in reader.deferred.values() for error in errors]
        raise CaffeError(source, [*deferred, *reader.errors])
    if reader.errors:
        raise CaffeError(source, reader.errors)
    return Parsed(
        message,
        reader.lines,
        tuple(reader.warnings),
        {place: tuple(errors) for place, errors in reader.deferred.items()},
    )


def write(message: Message) -> str:
    """The message as prototxt: two-space indents, fields by number, shortest floats; deterministic.

    Floats without a fraction keep their `.0`, as in files that Caffe's Python interface wrote.
    """
    return text_format.MessageToString(message)


class _TooManyError(Exception):
    """Stops the reading of a file with too many mistakes."""


class _Tokenizer(text_format.Tokenizer):
    @property
    def place(self) -> tuple[int, int]:
        """Line and column of the next token.

        The base class gives them only in errors, which quote the whole line: in a file of one line
        that would take time by the square of its length.
        """
        line: int = vars(self)["_line"]
        column: int = vars(self)["_column"]
        return line + 1, column + 1


class _Reader:
    """One pass over the tokens of one text; collects errors, warnings and top-level lines."""

    def __init__(self, text: str, defer: Collection[str] = ()) -> None:
        self.errors: list[Diagnostic] = []
        self.deferred: dict[tuple[str, int], list[Diagnostic]] = {}
        self._defer = defer
        self._place_of_errors: tuple[str, int] | None = None
        self.warnings: list[Diagnostic] = []
        self.lines: dict[str, list[int]] = {}
        self._path: list[str] = []
        # Not splitlines(): that also breaks at form feeds and the like, inside strings too.
        self._text = text.split("\n")
        self._tokens = _Tokenizer(self._text)

    def diagnostic(self, error: text_format.ParseError) -> Diagnostic:
        """The tokenizer's message without the place and the line that it starts with."""
        line, column = error.GetLine() or 0, error.GetColumn() or 0
        quoted = self._text[line - 1] if 0 < line <= len(self._text) else ""
        message = str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{quoted}': ")
        return Diagnostic(message.removeprefix("'': ").rstrip("."), line, column)

    def fields(self, message: Message, end: str | None, depth: int, start: int = 0) -> None:
        """Read fields into `message` up to the token `end` (None: up to the end of the text).

        `start` is the line on which the message was opened.
        """
        tokens = self._tokens
        self._check_depth(depth)
        known = message.DESCRIPTOR.fields_by_name
        seen: Counter[str] = Counter()
        while not self._at(end, start):
            line, column = self._place()
            name = self._name()
            field = known.get(name)
            self._path.append(name)
            if field is None:
                where = ".".join(self._path)
                self.warnings.append(Diagnostic(f"unknown field {where} is ignored", line, column))
                self._skip(depth)
            else:
                seen[name] += 1
                if seen[name] == 2 and not field.is_repeated:
                    text = f"{name} is given twice; keep one"
                    self._error(Diagnostic(text, line, column))
                self._field(message, field, depth, line)
                if depth == 0:
                    self._place_of_errors = None
            self._path.pop()
            if not tokens.TryConsume(","):
                tokens.TryConsume(";")

    def _at(self, end: str | None, start: int) -> bool:
        if end is None:
            return self._tokens.AtEnd()
        if self._tokens.AtEnd():
            raise self._failure(
                f"the file ends before the '{end}' of the block that starts on line {start}"
            )
        return self._tokens.TryConsume(end)

    def _field(self, message: Message, field: Any, depth: int, line: int) -> None:
        is_message = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
        if is_message:
            self._tokens.TryConsume(":")
        else:
            self._tokens.Consume(":")
        for is_listed in self._items(field.is_repeated):
            if depth == 0:
                start = self._place()[0] if is_listed else line
                lines = self.lines.setdefault(field.name, [])
                lines.append(start)
                if field.name in self._defer:
                    self._place_of_errors = (field.name, len(lines) - 1)
            if is_message:
                self._message(message, field, depth)
            else:
                self._value(message, field)

    def _items(self, repeated: bool) -> Iterator[bool]:
        """False once for a plain value; True for each item of a list in brackets."""
        tokens = self._tokens
        if not (repeated and tokens.TryConsume("[")):
            yield False
            return
        if tokens.TryConsume("]"):
            return
        while True:
            yield True
            if tokens.TryConsume("]"):
                return
            tokens.Consume(",")

    def _message(self, message: Message, field: Any, depth: int) -> None:
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner.add()
        else:
            inner.SetInParent()
        start, _ = self._place()
        if self._tokens.TryConsume("<"):
            self.fields(inner, ">", depth + 1, start)
        else:
            self._tokens.Consume("{")
            self.fields(inner, "}", depth + 1, start)

    def _value(self, message: Message, field: Any) -> None:
        """Read one scalar. A wrong one is recorded and skipped, so that others are found too."""
        place = self._place()
        try:
            value = self._scalar(field)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        except text_format.ParseError as error:
            if self._tokens.token in ("{", "<", "}", ">", "[", "]", ""):
                raise
            found = self.diagnostic(error)
            self._error(Diagnostic(f"{field.name}: {found.message}", found.line, found.column))
            if place == self._place():
                self._tokens.NextToken()
        except (ValueError, TypeError) as error:
            self._error(Diagnostic(f"{field.name}: {error}", *place))

    def _scalar(self, field: Any) -> Any:
        tokens, kind = self._tokens, field.cpp_type
        if kind in _INTEGERS or kind in _FLOATS:
            # The C++ parser, which Caffe uses, allows a space after the sign.
            sign = -1 if tokens.TryConsume("-") else 1
            if sign < 0 and tokens.token.startswith("-"):
                raise self._failure("expected a number after the sign, found another sign")
            return sign * (tokens.ConsumeInteger() if kind in _INTEGERS else tokens.ConsumeFloat())
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return tokens.ConsumeBool()
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return tokens.ConsumeEnum(field)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return tokens.ConsumeByteString()
        return tokens.ConsumeString()

    def _skip(self, depth: int) -> None:
        """Skip the value of an unknown field: a scalar, a message, or a list of either."""
        tokens = self._tokens
        if tokens.TryConsume(":"):
            for _ in self._items(repeated=True):
                self._skip_one(depth)
        else:
            self._skip_one(depth, scalar=False)

    def _skip_one(self, depth: int, scalar: bool = True) -> None:
        tokens = self._tokens
        self._check_depth(depth)
        start, _ = self._place()
        for opening, end in (("{", "}"), ("<", ">")):
            if tokens.TryConsume(opening):
                while not self._at(end, start):
                    self._name()
                    self._skip(depth + 1)
                    if not tokens.TryConsume(","):
                        tokens.TryConsume(";")
                return
        if not scalar:
            raise self._failure("Expected ':' or '{'")
        first = tokens.token[:1]
        if first and first in "\"'":
            tokens.ConsumeByteString()
        elif first.isalnum() or (first and first in "_-+."):
            tokens.NextToken()
        else:
            raise self._failure(f"Expected a value but found '{tokens.token}'")

    def _name(self) -> str:
        """A field's name, or in brackets the name of an extension, which Caffe has none of."""
        tokens = self._tokens
        if not tokens.TryConsume("["):
            return tokens.ConsumeIdentifier()
        name = ""
        while not tokens.TryConsume("]"):
            if tokens.AtEnd():
                raise self._failure("the file ends before the ']' of a name")
            name += tokens.token
            tokens.NextToken()
        return f"[{name}]"

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._failure(f"more than {MAX_DEPTH} messages inside each other")

    def _failure(self, message: str) -> text_format.ParseError:
        # The type stubs expect a protobuf message here.
        return self._tokens.ParseError(cast(Any, message))

    def _place(self) -> tuple[int, int]:
        return self._tokens.place

    def _error(self, diagnostic: Diagnostic) -> None:
        if self._place_of_errors is None:
            self.errors.append(diagnostic)
        else:
            self.deferred.setdefault(self._place_of_errors, []).append(diagnostic)
        if len(self.errors) + sum(map(len, self.deferred.values())) >= MAX_ERRORS:
            raise _TooManyError
