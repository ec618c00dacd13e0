"""Checks the size of a protobuf message's parts before it is parsed.

Two bytes of a message can become an object of a hundred, so a message within the limit for bytes
could take a hundred times its size. Protocol Buffers, "Encoding": a field is a tag, which has its
number and its wire type, and a value.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from service.errors import InvalidRequest, PayloadTooLarge

MOST_FIELDS = 10_000
"""Of all messages in a message. A request for 1024 images has about 1,100."""
LONGEST = 64 * 1024
"""Bytes of a text, and of a list of numbers that is no tensor's content."""

_CONTENTS = frozenset({"int_contents", "uint_contents", "fp32_contents"})


def check(data: memoryview, kind: Descriptor) -> None:
    """Check a message of a kind.

    Raises PayloadTooLarge for too many fields or a long text, InvalidRequest for broken data.
    """
    left = MOST_FIELDS
    waiting = [(data, kind)]
    while waiting:
        message, kind = waiting.pop()
        at = 0
        while at < len(message):
            left -= 1
            if left < 0:
                raise PayloadTooLarge("too many values; send the tensor as raw_input_contents")
            tag, at = _varint(message, at)
            field = kind.fields_by_number.get(tag >> 3)
            match tag & 7:
                case 0:  # a varint
                    _, at = _varint(message, at)
                case 1:  # 64 bits
                    at += 8
                case 5:  # 32 bits
                    at += 4
                case 2:  # bytes after their length
                    length, at = _varint(message, at)
                    end = at + length
                    if end > len(message):
                        raise _broken()
                    # An unknown field is skipped: it costs no more than its bytes.
                    if field is not None and field.message_type is not None:
                        waiting.append((message[at:end], field.message_type))
                    elif field is not None and length > LONGEST and not _may_be_long(field):
                        raise PayloadTooLarge(
                            f"{field.name}: has {length} bytes; the limit is {LONGEST}"
                        )
                    at = end
                case _:
                    raise _broken()
        if at > len(message):
            raise _broken()


def _may_be_long(field: FieldDescriptor) -> bool:
    return field.type == field.TYPE_BYTES or field.name in _CONTENTS


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of up to ten bytes with seven bits in each, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _broken()


def _broken() -> InvalidRequest:
    return InvalidRequest("the message is not the protobuf message of this call")
