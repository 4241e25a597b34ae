"""
The names that annotations need, without `typing`: it takes 0.5 MB and 5 ms of CPU of every cold start (docs/cold-start.md).

Type checkers see `typing`'s own. At run time `Settings` takes its readers from annotations (`Annotated`), and a tool may read those of the public
function; so a stand-in need do no more than let them be written down and be read again.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` spells it: type checkers take it for true

if TYPE_CHECKING:
    from typing import Annotated as Annotated
    from typing import Any as Any
    from typing import ClassVar as ClassVar
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NewType as NewType
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeGuard as TypeGuard
    from typing import TypeVar as TypeVar
    from typing import dataclass_transform as dataclass_transform
    from typing import overload as overload
else:
    Any = NoReturn = object

    class _Written:
        """`Literal["full"]`, `Generic[T]`: what stands in the brackets is for readers."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls

    ClassVar = Generic = Literal = Protocol = TypeGuard = _Written

    class Annotated:
        """`Annotated[int, reader]`, whose `__metadata__` is `(reader,)`."""

        __slots__ = ("__metadata__",)

        def __class_getitem__(cls, told):
            made = cls()
            made.__metadata__ = told[1:]
            return made

    def NewType(_name, _of):  # noqa: N802 - typing's name
        return lambda value: value

    def TypeVar(_name, **_):  # noqa: N802 - typing's name
        return object  # annotations of a public function can still be read: `object | None`

    def dataclass_transform(**_):
        return lambda decorator: decorator

    def overload(function):
        return function
