"""What the API says of itself: `application.spec`, the fields of each resource and the paths of each kind.

Data for clients and for the documentation's test; BUILDBOT.md section 3 is where the fields come from.
"""

from typing import Any, Final

FIELDS: Final[dict[str, str]] = {
    "builder": (
        "builderid:int description?:str description_format?:str description_html?:str masterids[]:int name:str "
        "tags[]:str projectid?:int"
    ),
    "buildrequest": (
        "buildrequestid:int builderid:int buildsetid:int claimed:bool claimed_at?:date claimed_by_masterid?:int "
        "complete:bool complete_at?:date priority:int properties?:object results?:int submitted_at:date "
        "waited_for:bool ended_reason?:str"
    ),
    "buildset": (
        "bsid:int complete:bool complete_at?:date external_idstring?:str parent_buildid?:int "
        "parent_relationship?:str reason:str rebuilt_buildid?:int results?:int sourcestamps[]:sourcestamp "
        "submitted_at:date"
    ),
    "build": (
        "buildid:int number:int builderid:int buildrequestid:int workerid:int masterid:int started_at:date "
        "complete:bool complete_at?:date locks_duration_s:int properties?:object results?:int state_string:str"
    ),
    "step": (
        "stepid:int buildid:int complete:bool complete_at?:date hidden:bool name:str number:int results?:int "
        "started_at?:date locks_acquired_at?:date state_string:str urls[]:object"
    ),
    "log": "complete:bool deleted_at?:date horizon?:int logid:int name:str num_lines:int slug:str stepid:int type:str",
    "logchunk": "content:str firstline:int logid:int",
    "worker": (
        "workerid:int configured_on[]:object connected_to[]:object name:str paused:bool pause_reason?:str "
        "graceful:bool workerinfo:object"
    ),
    "master": "active:bool last_active:date masterid:int name:str",
    "change": (
        "changeid:int author:str branch?:str category?:str codebase:str comments:str files[]:str "
        "parent_changeids[]:int project:str properties:object repository:str revision?:str revlink?:str "
        "sourcestamp:sourcestamp when_timestamp:int"
    ),
    "sourcestamp": (
        "ssid:int branch?:str codebase:str created_at:date patch?:object project:str repository:str revision?:str"
    ),
    "scheduler": "schedulerid:int name:str master?:object enabled:bool",
    "changesource": "changesourceid:int name:str master?:object",
    "forcescheduler": "name:str label:str button_name:str builder_names[]:str all_fields[]:object",
    "project": "projectid:int name:str slug:str description?:str",
    "lock": (
        "lock:str kind:str name:str worker:str limit?:int used:int max_overtakes:int removed:bool "
        "holders[]:object waiting:int waiters[]:object max_waiting?:int when_full?:str order:str rate:str "
        "units[]:object quarantine_after?:int shared?:object"
    ),
    "booking": (
        "bookingid:int who:str reason:str locks[]:object priority:int state:str asked_at:date granted_at?:date "
        "ends_at?:date lease?:float after_current:bool complete:bool complete_at?:date ending?:str ended_by:str "
        "ended_why:str"
    ),
    "fence": "lock:str kind:str fence:int current:bool exclusive:bool highest:bool last:int by?:str",
    "claim": (
        "ticket:int state:str by:object hold?:int worker?:str since?:float accesses[]:object reason?:str why?:object"
    ),
    "history": (
        "number:int position:int at:float event:str lock:str kind:str name:str worker:str by?:object units:int "
        "exclusive:bool limit?:int waited?:float held?:float hold?:int fence?:int ticket:int detail:str"
    ),
    "lock_use": (
        "lock:str kind:str name:str worker:str since:float until:float grants:int left:int barriers:int wait?:object "
        "use?:object share?:float complete:bool"
    ),
    "why": (
        "kind:str sentence:str since?:float ticket:int locks[]:object workers[]:object reserves:str "
        "can_start?:bool barrier:bool kept[]:object expected?:object gives_up_at?:date"
    ),
}
"""Resource to its fields; `?` may be null, `[]` is a list."""

ROOTS: Final = (
    "bookings",
    "builders",
    "buildrequests",
    "builds",
    "buildsets",
    "changes",
    "changesources",
    "claims",
    "forceschedulers",
    "lock_use",
    "locks",
    "masters",
    "projects",
    "schedulers",
    "sourcestamps",
    "steps",
    "test_result_sets",
    "workers",
)


_UNCOUNTED: Final = ("why", "history", "lock_use")
"""Resources whose plural is their name."""


def specs() -> list[dict[str, Any]]:
    """Each resource with its fields."""
    return [
        {
            "path": f"{name}s" if not name.endswith("y") else name,
            "plural": name if name in _UNCOUNTED else f"{name}s",
            "type": name,
            "type_spec": {"type": name, "fields": [_field(each) for each in text.split()]},
        }
        for name, text in FIELDS.items()
    ]


def _field(text: str) -> dict[str, Any]:
    name, _, kind = text.partition(":")
    spec: dict[str, Any] = {"type": kind}
    if name.endswith("[]"):
        spec = {"type": "list", "of": spec}
    return {"name": name.removesuffix("[]").removesuffix("?"), "type_spec": spec, "nullable": name.endswith("?")}
