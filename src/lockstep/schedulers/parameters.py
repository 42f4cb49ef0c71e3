"""What a person may be asked for when builds are forced: the parameters of a `ForceScheduler`.

A parameter checks one field of a form and says what its value is. The form as a whole is in `force.py`.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from lockstep.config.errors import check_keywords, here, missing, mistake

_COMMON: Final = (
    "name",
    "label",
    "tablabel",
    "default",
    "required",
    "multiple",
    "regex",
    "hide",
    "maxsize",
    "autopopulate",
    "tooltip",
)


class FieldError(ValueError):
    """A field of a form is wrong; the message says what is the matter with it, without naming it."""


class BaseParameter:
    """One field. `name` is the property's name too; `fullName` is how forms name it.

    `default` is used where nothing was given, `required` refuses that; `maxsize` is in characters; `regex` must match
    from the beginning.
    """

    type: ClassVar[str] = "text"
    keywords: ClassVar[tuple[str, ...]] = ()
    name: str = ""
    label: Any = None
    tablabel: Any = None
    default: Any = ""
    required: Any = False
    multiple: Any = False
    regex: Any = None
    hide: Any = False
    maxsize: Any = None
    autopopulate: Any = None
    tooltip: Any = ""

    def __init__(self, name: Any = None, label: Any = None, **kwargs: Any) -> None:
        """Take the name, and what is named in the class."""
        self.place = here()
        if name is not None:
            self.name = name
        own = [keyword for cls in type(self).__mro__ for keyword in vars(cls).get("keywords", ())]
        for keyword in (*_COMMON, *own):
            if keyword in kwargs:
                setattr(self, keyword, kwargs.pop(keyword))
        check_keywords(type(self).__name__, kwargs, (*_COMMON, *own), place=self.place)
        self.label = label if label is not None else (self.label if self.label is not None else self.name)
        self.tablabel = self.tablabel if self.tablabel is not None else self.label
        self.parent: str = ""
        if isinstance(self.regex, str):
            try:
                self.regex = re.compile(self.regex)
            except re.error as exc:
                mistake(f"parameter {self.name!r}: its regex is no regular expression: {exc}", place=self.place)
                self.regex = None
        self.check()

    def check(self) -> None:
        """For subclasses: report what is wrong with the arguments."""
        if not isinstance(self.name, str) or not self.name:
            missing("name", f"{type(self).__name__} needs a name", place=self.place)

    @property
    def fullName(self) -> str | None:
        """The name in forms: the group's and its own; None for a group without a name."""
        if not self.name:
            return None
        return f"{self.parent}_{self.name}" if self.parent else self.name

    def spec(self) -> dict[str, Any]:
        """The description that forms are made from, in Buildbot's shape."""
        own = [keyword for cls in reversed(type(self).__mro__) for keyword in vars(cls).get("keywords", ())]
        return {
            "name": self.name,
            "fullName": self.fullName,
            "label": self.label,
            "tablabel": self.tablabel,
            "type": self.type,
            "default": self.default,
            "required": bool(self.required),
            "multiple": bool(self.multiple),
            "regex": self.regex.pattern if self.regex is not None else None,
            "hide": bool(self.hide),
            "maxsize": self.maxsize,
            "autopopulate": self.autopopulate,
            "tooltip": self.tooltip,
            **{keyword: getattr(self, keyword) for keyword in own},
        }

    def read(self, values: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
        """The properties that a filled-in form gives; what is wrong goes to `errors` by the field's full name."""
        assert self.fullName is not None
        try:
            given = self._one(values.get(self.fullName))
            return {self.name: self._default() if given is None else self.value(given)}
        except FieldError as exc:
            errors[self.fullName] = str(exc)
            return {}

    def _one(self, given: Any) -> Any:
        """What was given, in its form; None if nothing was."""
        if self.multiple:
            return [given] if given not in (None, "") and not isinstance(given, list | tuple) else given or None
        if isinstance(given, list | tuple):
            if len(given) > 1:
                raise FieldError("it takes one value")
            given = given[0] if given else None
        return None if isinstance(given, str) and not given else given

    def _default(self) -> Any:
        """What holds where nothing was given. It is the configuration's, and not checked."""
        if self.required and self.default in ("", None):
            raise FieldError("it must be filled in")
        if self.multiple and not isinstance(self.default, list | tuple):
            return [self.default] if self.default not in ("", None) else []
        return self.default

    def value(self, given: Any) -> Any:
        """The property's value. Raises FieldError."""
        text = str(given)
        if self.maxsize is not None and len(text) > self.maxsize:
            raise FieldError(f"it is longer than {self.maxsize} characters")
        if self.regex is not None and not self.regex.match(text):
            raise FieldError(f"it does not match {self.regex.pattern!r}")
        return text


class FixedParameter(BaseParameter):
    """A property that nobody is asked for: always the default."""

    type = "fixed"
    hide = True

    def _one(self, given: Any) -> Any:
        return None


class StringParameter(BaseParameter):
    """A line of text; `size` is the width of the field."""

    keywords: ClassVar[tuple[str, ...]] = ("size",)
    size: Any = 10


class TextParameter(StringParameter):
    """Several lines of text."""

    type = "textarea"
    keywords: ClassVar[tuple[str, ...]] = ("cols", "rows")
    cols: Any = 80
    rows: Any = 20


class IntParameter(StringParameter):
    """A whole number."""

    type = "int"
    default: Any = 0

    def value(self, given: Any) -> Any:
        if isinstance(given, bool):
            raise FieldError("it must be a whole number")
        try:
            return int(str(super().value(given)).strip())
        except ValueError as exc:
            raise FieldError(str(exc) if isinstance(exc, FieldError) else f"{given!r} is no whole number") from None


class BooleanParameter(BaseParameter):
    """Yes or no."""

    type = "bool"
    default: Any = False

    def value(self, given: Any) -> Any:
        if isinstance(given, bool):
            return given
        text = str(given).strip().lower()
        if text in ("true", "on", "yes", "1", "checked"):
            return True
        if text in ("false", "off", "no", "0", ""):
            return False
        raise FieldError(f"{given!r} is neither true nor false")


class UserNameParameter(StringParameter):
    """Who asks, if the server does not know."""

    type = "username"
    name = "username"
    label = "Your name:"
    size: Any = 30
    keywords: ClassVar[tuple[str, ...]] = ("need_email",)
    need_email: Any = True

    def value(self, given: Any) -> Any:
        text = super().value(given)
        if text and self.need_email and not re.match(r"[^@\s]+@[^@\s]+$", text.rsplit("<", 1)[-1].rstrip(">")):
            raise FieldError("it must be an address, such as joe@example.com")
        return text


class ChoiceStringParameter(BaseParameter):
    """One of `choices`, or with `multiple` some of them; others only if not `strict`."""

    type = "list"
    keywords: ClassVar[tuple[str, ...]] = ("choices", "strict")
    choices: Any = ()
    strict: Any = True

    def check(self) -> None:
        super().check()
        if isinstance(self.choices, str) or not isinstance(self.choices, list | tuple):
            mistake(f"parameter {self.name!r}: choices must be a list", place=self.place)
            self.choices = []
        self.choices = list(self.choices)

    def getChoices(self, master: Any = None, scheduler: Any = None, buildername: Any = None) -> list[Any]:
        """What may be chosen."""
        return list(self.choices)

    def value(self, given: Any) -> Any:
        wanted = given if isinstance(given, list | tuple) else [given]
        if self.strict:
            for one in wanted:
                if one not in self.choices and (one != self.default or one not in ("", None)):
                    raise FieldError(f"{one!r} is not one of {', '.join(map(repr, self.choices))}")
        return list(wanted) if self.multiple else given


class NestedParameter(BaseParameter):
    """A group of fields. With a name, its properties are one dictionary; without, they are the build's own."""

    type = "nested"
    keywords: ClassVar[tuple[str, ...]] = ("layout", "columns")
    layout: Any = "vertical"
    columns: Any = None

    def __init__(self, name: Any = "", fields: Any = (), label: Any = None, **kwargs: Any) -> None:
        """Take the fields."""
        self.fields: list[BaseParameter] = [field for field in fields if isinstance(field, BaseParameter)]
        for field in fields:
            if not isinstance(field, BaseParameter):
                mistake(f"parameter {name!r}: a field must be a parameter, not {field!r}")
        super().__init__(name, label if label is not None else (name or ""), **kwargs)
        if self.columns is None:
            self.columns = 2 if sum(not field.hide for field in self.fields) > 3 else 1

    def check(self) -> None:
        """A group needs no name."""
        if self.layout not in ("simple", "vertical", "tabs"):
            mistake(f"parameter {self.name!r}: layout is simple, vertical or tabs", place=self.place)

    def place_in(self, parent: str) -> None:
        """Give the fields their full names."""
        self.parent = parent
        for field in self.fields:
            if isinstance(field, NestedParameter):
                field.place_in(self.fullName or parent)
            else:
                field.parent = self.fullName or parent

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "fields": [field.spec() for field in self.fields]}

    def read(self, values: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in self.fields:
            found.update(field.read(values, errors))
        return {self.name: found} if self.name else found


ParameterGroup = NestedParameter


class AnyPropertyParameter(NestedParameter):
    """A property whose name is asked for too."""

    def __init__(self, name: Any, **kwargs: Any) -> None:
        """Make the two fields."""
        fields = [StringParameter("name", "Name:"), StringParameter("value", "Value:")]
        super().__init__(name, fields, "", **kwargs)

    def read(self, values: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
        found = super().read(values, errors).get(self.name, {})
        name = found.get("name", "")
        if not name:
            return {}
        if not re.fullmatch(r"[A-Za-z0-9_./:\-~]+", name):
            errors[f"{self.fullName}_name"] = f"{name!r} is no name for a property"
            return {}
        return {name: found.get("value", "")}


class CodebaseParameter(NestedParameter):
    """Branch, revision, repository and project of one codebase. A part that is None is not asked for."""

    def __init__(
        self,
        codebase: Any = "",
        name: Any = None,
        label: Any = None,
        branch: Any = "",
        revision: Any = "",
        repository: Any = "",
        project: Any = "",
        patch: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take the codebase, and a parameter (or a default text) for each part."""
        parts = {"branch": branch, "project": project, "repository": repository, "revision": revision}
        fields = []
        for part, given in parts.items():
            if isinstance(given, BaseParameter):
                given.name = part
                fields.append(given)
            elif given is not None:
                fields.append(StringParameter(part, f"{part.capitalize()}:", default=given))
        self.codebase = codebase
        label = label if label is not None else (f"Codebase: {codebase}" if codebase else "")
        super().__init__(codebase, fields, label, **kwargs)
        if patch is not None:
            mistake("patch of CodebaseParameter is not supported yet", "leave it out", self.place)
