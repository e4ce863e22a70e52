from tests.conformance.registry import CASES, public_estimators


def test_every_public_estimator_is_in_the_registry():
    missing = set(public_estimators().values()) - {type(case.make()) for case in CASES}
    assert not missing, "give these a Case in tests/conformance/registry.py"


def test_cases_have_names_of_their_own():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(name.split("-")[0] == type(case.make()).__name__ for name, case in zip(names, CASES))
