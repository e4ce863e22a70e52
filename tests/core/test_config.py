import threading

import pytest

import fastmotion
from fastmotion import config_context, get_config, set_config

DEFAULTS = {"device": "auto", "n_jobs": None}


@pytest.fixture(autouse=True)
def restore():
    with config_context():
        yield


def test_defaults():
    assert get_config() == DEFAULTS


def test_what_get_config_returns_is_a_copy():
    get_config()["device"] = "cuda"
    assert get_config() == DEFAULTS


def test_set_config_changes_only_what_it_names():
    set_config(device="cpu")
    set_config(n_jobs=3)
    assert get_config() == {"device": "cpu", "n_jobs": 3}


def test_context_restores_nested_and_after_an_error():
    with config_context(device="cpu"):
        with pytest.raises(ZeroDivisionError), config_context(n_jobs=2):
            assert get_config() == {"device": "cpu", "n_jobs": 2}
            raise ZeroDivisionError
        set_config(n_jobs=5)
        assert get_config() == {"device": "cpu", "n_jobs": 5}
    assert get_config() == DEFAULTS


@pytest.mark.parametrize("change", [set_config, lambda **s: config_context(**s).__enter__()])
def test_unknown_setting_is_an_error_that_names_the_known_ones(change):
    with pytest.raises(TypeError, match=r"'devise'.*'device', 'n_jobs'"):
        change(devise="cpu", n_jobs=1)
    assert get_config() == DEFAULTS


def test_settings_belong_to_a_thread():
    seen = []
    with config_context(device="cpu"):
        thread = threading.Thread(target=lambda: seen.append(get_config()))
        thread.start()
        thread.join()
    assert seen == [DEFAULTS]
    assert fastmotion.get_config is get_config
