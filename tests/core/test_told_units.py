"""What builds are told of their units: properties, and the variables that they become."""

from lockstep.core.told_units import environment, properties
from lockstep.core.values import PoolSetup, UnitSetup

POOLS = {
    "boards": PoolSetup(
        "boards",
        (
            UnitSetup("a", (), {"at": "10.0.0.1", "port": 22}),
            UnitSetup("b", (), {"at": "10.0.0.2", "on": True, "more": {"x": [1, None]}}),
        ),
    ),
    "keys": PoolSetup("keys", (UnitSetup("red"),)),
}


def test_one_unit_is_told_in_plain_values_and_several_in_lists() -> None:
    assert properties((("boards", ("a",)), ("keys", ("red",))), POOLS) == {
        "units:boards": ["a"],
        "unit:boards": "a",
        "unit:boards:at": "10.0.0.1",
        "unit:boards:port": 22,
        "units:keys": ["red"],
        "unit:keys": "red",
    }
    assert properties((("boards", ("a", "b")),), POOLS) == {
        "units:boards": ["a", "b"],
        "unit:boards": ["a", "b"],
        "unit:boards:at": ["10.0.0.1", "10.0.0.2"],
        "unit:boards:port": [22, None],
        "unit:boards:on": [None, True],
        "unit:boards:more": [None, {"x": [1, None]}],
    }


def test_of_what_is_configured_no_more_the_name_is_told() -> None:
    units = (("boards", ("a", "z")), ("phones", ("p",)))
    told = properties(units, POOLS)
    assert told["unit:boards:at"] == ["10.0.0.1", None]
    assert (told["units:phones"], told["unit:phones"]) == (["p"], "p")


def test_the_environment_says_the_same_as_the_properties() -> None:
    told = properties((("boards", ("b",)), ("keys", ("red",))), POOLS)
    assert environment({**told, "fence:boards": 3, "united": 1}) == {
        "LOCKSTEP_UNITS_BOARDS": "b",
        "LOCKSTEP_UNIT_BOARDS": "b",
        "LOCKSTEP_UNIT_BOARDS_AT": "10.0.0.2",
        "LOCKSTEP_UNIT_BOARDS_ON": "true",
        "LOCKSTEP_UNIT_BOARDS_MORE": '{"x":[1,null]}',
        "LOCKSTEP_UNITS_KEYS": "red",
        "LOCKSTEP_UNIT_KEYS": "red",
    }
    several = environment(properties((("boards", ("a", "b")),), POOLS))
    assert several["LOCKSTEP_UNITS_BOARDS"] == "a,b"
    assert [several[f"LOCKSTEP_UNIT_BOARDS_{number}_PORT"] for number in (1, 2)] == ["22", ""]
    assert "LOCKSTEP_UNIT_BOARDS" not in several


def test_data_that_is_a_list_is_one_value_of_one_unit() -> None:
    pools = {"p": PoolSetup("p", (UnitSetup("u", (), {"lines": [1, 2]}),))}
    told = properties((("p", ("u",)),), pools)
    assert told["unit:p:lines"] == [1, 2]
    assert environment(told)["LOCKSTEP_UNIT_P_LINES"] == "[1,2]"


def test_a_property_of_somebody_elses_is_not_told() -> None:
    assert environment({"unit:boards": "of a user"}) == {}


def test_names_that_become_one_variable_are_numbered() -> None:
    told = {
        "units:a-b": ["x"],
        "unit:a-b": "x",
        "unit:a-b:c": "of a-b",
        "units:a.b": ["y"],
        "unit:a.b": "y",
        "units:a": ["z"],
        "unit:a:b-c": "of a",
    }
    assert environment(told) == {
        "LOCKSTEP_UNITS_A": "z",
        "LOCKSTEP_UNITS_A_B": "x",
        "LOCKSTEP_UNITS_A_B_2": "y",
        "LOCKSTEP_UNIT_A_B": "x",
        "LOCKSTEP_UNIT_A_B_2": "y",
        "LOCKSTEP_UNIT_A_B_C": "of a-b",
        "LOCKSTEP_UNIT_A_B_C_2": "of a",
    }
