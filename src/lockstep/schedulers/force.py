"""Builds that a person asks for: `ForceScheduler`, and `plain_submission` for builders without one.

The fields are in `parameters.py`. Authorization is not here: the web and the command line see to it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import mistake
from lockstep.core.errors import RefusedError, WrongFieldsError
from lockstep.core.values import Properties, RequestWish, SourceStamp, Submission
from lockstep.schedulers.base import BaseScheduler, check_kept
from lockstep.schedulers.parameters import (
    BaseParameter,
    CodebaseParameter,
    IntParameter,
    NestedParameter,
    StringParameter,
    UserNameParameter,
)

_FORMS_OWN = frozenset({"builderid", "builderNames", "builder", "builders", "owner", "sch", "force"})
"""What forms and `force` calls send beside the fields."""


class ForceScheduler(BaseScheduler):
    """A form for builds: who asks and why, what to build, and properties.

    `codebases` is a list of names and `CodebaseParameter`s, `properties` a list of parameters. `reasonString` may use
    `%(owner)s` and `%(reason)s`.
    """

    keywords: ClassVar[tuple[str, ...]] = ("username", "reasonString", "label", "buttonName")

    def __init__(
        self,
        name: Any = None,
        builderNames: Any = None,
        username: Any = None,
        reason: Any = None,
        reasonString: str = "A build was forced by '%(owner)s': %(reason)s",
        codebases: Any = None,
        label: Any = None,
        properties: Any = None,
        buttonName: Any = None,
        priority: Any = None,
        **unknown: Any,
    ) -> None:
        """Take the fields of the form."""
        super().__init__(name=name, builderNames=builderNames, **unknown)
        self.username = self._field(username, UserNameParameter(), "username")
        self.reason_field = self._field(reason, StringParameter("reason", default="force build", size=20), "reason")
        self.priority_field = self._field(priority, IntParameter("priority", default=0), "priority")
        for field, own in (
            (self.username, "username"),
            (self.reason_field, "reason"),
            (self.priority_field, "priority"),
        ):
            field.name = own
        self.reasonString = self._pattern(reasonString)
        self.label = label or self.name
        self.buttonName = buttonName or self.name
        self.groups = self._groups(codebases)
        self.fields = self._fields(properties)
        for group in (*self.groups, *self.fields):
            if isinstance(group, NestedParameter):
                group.place_in("")

    def _field(self, given: Any, default: BaseParameter, what: str) -> BaseParameter:
        if given is None:
            return default
        if isinstance(given, BaseParameter):
            return given
        if isinstance(given, str | int) and not isinstance(given, bool):
            default.default = given
            return default
        mistake(f"scheduler {self.name!r}: {what} must be a parameter, not {given!r}", place=self.place)
        return default

    def _pattern(self, given: Any) -> str:
        """The reason of builds, with the places for who asked and why."""
        what = f"scheduler {self.name!r}: reasonString"
        hint = "it may use %(owner)s and %(reason)s; a percent sign is written %%"
        if not isinstance(given, str):
            mistake(f"{what} must be a text, not {given!r}", hint, self.place)
            return "%(reason)s"
        try:
            given % {"owner": "", "reason": ""}
        except (KeyError, ValueError, TypeError) as exc:
            mistake(f"{what} {given!r} cannot be filled in: {type(exc).__name__}: {exc}", hint, self.place)
            return "%(reason)s"
        return given

    def _groups(self, codebases: Any) -> list[CodebaseParameter]:
        if codebases is None:
            return [CodebaseParameter("")]
        if isinstance(codebases, str) or not isinstance(codebases, list | tuple) or not codebases:
            hint = 'codebases=[""] is one codebase without a name'
            mistake(f"scheduler {self.name!r}: codebases must be a list that is not empty", hint, self.place)
            return [CodebaseParameter("")]
        groups = []
        for given in codebases:
            if isinstance(given, CodebaseParameter):
                groups.append(given)
            elif isinstance(given, str):
                groups.append(CodebaseParameter(given))
            else:
                text = f"scheduler {self.name!r}: a codebase must be a name or a CodebaseParameter, not {given!r}"
                mistake(text, place=self.place)
        return groups

    def _fields(self, properties: Any) -> list[BaseParameter]:
        fields = []
        for field in properties if isinstance(properties, list | tuple) else ():
            if isinstance(field, BaseParameter):
                fields.append(field)
            else:
                text = f"scheduler {self.name!r}: a property must be a parameter, not {field!r}"
                mistake(text, 'StringParameter(name="x"), for example', self.place)
        if properties is not None and not isinstance(properties, list | tuple):
            mistake(f"scheduler {self.name!r}: properties must be a list of parameters", place=self.place)
        return fields

    @property
    def all_fields(self) -> list[BaseParameter]:
        """The whole form."""
        own = NestedParameter("", [self.username, self.reason_field, self.priority_field])
        return [own, *self.groups, *self.fields]

    def spec(self) -> dict[str, Any]:
        """Its description in Buildbot's shape (the REST resource `forcescheduler`)."""
        return {
            "name": self.name,
            "label": self.label,
            "button_name": self.buttonName,
            "builder_names": list(self.builderNames),
            "enabled": True,
            "all_fields": [field.spec() for field in self.all_fields],
        }

    def submission(self, values: Mapping[str, Any], builder: str, who: str) -> Submission:
        """What a filled-in form asks for on one builder. `values` are by full name; `who` is empty if nobody knows.

        Raises RefusedError; WrongFieldsError where fields are wrong.
        """
        if builder not in self.builderNames:
            raise RefusedError(f"The scheduler {self.name!r} does not build on {builder!r}.")
        errors: dict[str, str] = {}
        stamps = tuple(self._stamp(group, values, errors) for group in self.groups)
        found: dict[str, Any] = {}
        for field in self.fields:
            found.update(field.read(values, errors))
        reason = self.reason_field.read(values, errors).get("reason", "")
        level = self._level(values, errors)
        owner = who or str(values.get("owner") or "")
        if not owner:
            owner = self.username.read(values, errors).get("username", "") or "nobody"
        self._unknown(values, errors)
        if errors:
            raise WrongFieldsError(errors)
        try:
            for name, value in found.items():
                check_kept(name, value)
        except TypeError as exc:
            raise RefusedError(f"The form of scheduler {self.name!r} cannot be used: {exc}.") from None
        properties: Properties = {name: (value, "Force Build Form") for name, value in found.items()}
        properties["owner"] = (owner, "Force Build Form")
        properties["reason"] = (reason, "Force Build Form")
        return Submission(
            requests=(RequestWish(builder=builder, priority=level),),
            reason=self.reasonString % {"owner": owner, "reason": reason},
            scheduler=self.name,
            sourcestamps=stamps,
            properties=properties,
        )

    def _level(self, values: Mapping[str, Any], errors: dict[str, str]) -> int:
        """The priority, whatever kind of field asks for it."""
        given = self.priority_field.read(values, errors).get("priority") or 0
        try:
            return int(str(given))
        except ValueError:
            errors["priority"] = f"{given!r} is no whole number"
            return 0

    def _stamp(self, group: CodebaseParameter, values: Mapping[str, Any], errors: dict[str, str]) -> SourceStamp:
        parts: dict[str, Any] = {}
        for field in group.fields:
            parts.update(field.read(values, errors))
        return SourceStamp(
            codebase=group.codebase,
            branch=str(parts.get("branch") or "") or None,
            revision=str(parts.get("revision") or "") or None,
            repository=str(parts.get("repository") or ""),
            project=str(parts.get("project") or ""),
        )

    def _unknown(self, values: Mapping[str, Any], errors: dict[str, str]) -> None:
        """A field that the form does not have is a mistake, unless it is empty."""
        known = set(_FORMS_OWN)

        def walk(fields: list[BaseParameter]) -> None:
            for field in fields:
                known.add(field.fullName or "")
                if isinstance(field, NestedParameter):
                    walk(field.fields)

        walk(self.all_fields)
        for name, value in values.items():
            if name not in known and value not in (None, "", []):
                errors[name] = "the form has no such field"


def plain_submission(
    builder: str,
    *,
    branch: str | None = None,
    revision: str | None = None,
    properties: Mapping[str, Any] | None = None,
    reason: str = "",
    who: str = "",
    count: int = 1,
    priority: int = 0,
    sourcestamps: tuple[SourceStamp, ...] | None = None,
) -> Submission:
    """Builds of one builder as `lockstep force` asks for them. More than one are `count` builds, never merged.

    Raises RefusedError for a count below 1 or a property without a name.
    """
    if count < 1:
        raise RefusedError(f"The number of builds must be at least 1, not {count}.")
    if any(not name for name in properties or {}):
        raise RefusedError("A property needs a name.")
    given: Properties = {name: (value, "Force Build Form") for name, value in (properties or {}).items()}
    if who:
        given["owner"] = (who, "Force Build Form")
    stamps = sourcestamps if sourcestamps is not None else (SourceStamp(branch=branch, revision=revision),)
    return Submission(
        requests=(RequestWish(builder=builder, priority=priority),) * count,
        reason=reason or ("forced by " + who if who else "forced"),
        scheduler="",
        sourcestamps=stamps,
        properties=given,
        collapse=count == 1,
    )
