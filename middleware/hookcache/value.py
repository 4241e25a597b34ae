"""
Values: immutable classes with slots, made of annotations as `dataclass(frozen=True, slots=True)` makes them.

Not by `dataclasses`, which loads `inspect` and compiles six methods for every class, a quarter of a cold start (docs/adr/0021).
Of a value one method is compiled, `__init__`, and not before the first instance is made; all others are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from hookcache.hints import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """
    Make a value of a class: its annotations are the members, what is assigned to them in the class their defaults.

    A member whose name begins with `_` is no parameter. It starts as its default, takes no part in `repr`, `==`, `hash` and
    copies, and only the class itself changes it, through `object.__setattr__`. Methods that the class defines stay.

    Raises:
        TypeError: the class has a base, whose members would be lost, or a default that its instances could change for all.
    """
    if cls.__bases__ != (object,):
        raise TypeError(f"{cls.__qualname__}: a value has no base")
    body, names = dict(cls.__dict__), tuple(cls.__annotations__)
    defaults = {name: body.pop(name) for name in names if name in body}
    for name, default in defaults.items():
        if isinstance(default, list | dict | set):
            raise TypeError(f"{cls.__qualname__}.{name}: all instances would share a default that can change")
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    body |= {"__qualname__": cls.__qualname__, "__slots__": names}
    body["__match_args__"] = tuple(name for name in names if not name.startswith("_"))
    made: Any = type(cls.__name__, (), {**_SHARED, **body})  # slots need a class of their own

    def first(self: object, /, *given: Any, **named: Any) -> None:
        made.__init__ = _initializer(made, defaults)  # twice if two threads meet here, which is as good
        made.__init__(self, *given, **named)

    made.__init__ = first
    return made  # type: ignore[no-any-return]


def members(of: Any) -> dict[str, Any]:
    """The members of a value by name, without those that begin with `_`."""
    return {name: getattr(of, name) for name in of.__match_args__}


def replace(of: T, /, **changes: Any) -> T:
    """A value like `of`, but for `changes`. Raises TypeError for what is no member."""
    return type(of)(**(members(of) | changes))


def shown(of: Any, hidden: Collection[str] = ()) -> str:
    """How a value is shown, as `Name(member=...)`; a class with `hidden` members calls this in its `__repr__`."""
    said = ", ".join(f"{name}={member!r}" for name, member in members(of).items() if name not in hidden)
    return f"{type(of).__qualname__}({said})"


def _initializer(cls: Any, defaults: dict[str, Any]) -> Callable[..., None]:
    """`__init__` of a class. Slots are set through their descriptors: that passes `_refuse`, and is the fastest way."""
    known = {f"_set_{name}": getattr(cls, name).__set__ for name in cls.__slots__}
    known |= {f"_default_{name}": default for name, default in defaults.items()}
    parameters = [f"{name}=_default_{name}" if name in defaults else name for name in cls.__match_args__]
    lines = [
        f" _set_{name}(self, {name if name in cls.__match_args__ else f'_default_{name}'})" for name in cls.__slots__
    ]
    exec("\n".join([f"def __init__({', '.join(['self', *parameters])}):", *lines, " pass"]), known)  # noqa: S102 - names of our own members
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"  # names the class where arguments are wrong
    return made


def _told(of: Any) -> tuple[Any, ...]:
    return tuple([getattr(of, name) for name in of.__match_args__])


def _equals(self: Any, other: object) -> Any:
    return _told(self) == _told(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_told(self))


def _refuse(self: Any, name: str, *_: object) -> None:
    raise AttributeError(f"{type(self).__qualname__} is a value: {name} can be neither set nor deleted")


def _rebuilt(self: Any) -> tuple[Any, ...]:
    """For `copy` and `pickle`."""
    return type(self), _told(self)


_SHARED = {
    "__repr__": shown,
    "__eq__": _equals,
    "__hash__": _hash,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__reduce__": _rebuilt,
}
