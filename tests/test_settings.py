"""Settings: read from the environment, refused when misspelt."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import Settings, get_settings


def test_home_is_made_for_the_owner_alone(home: Path) -> None:
    assert get_settings().home == home
    assert get_settings().records_url == f"sqlite:///{home / 'lowest-rung.db'}"
    if sys.platform != "win32":
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_misspelt_setting_is_refused_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_DEVISE", "cpu")
    get_settings.cache_clear()
    with pytest.raises(UserError, match=r"no setting LOWEST_RUNG_DEVISE.*mean LOWEST_RUNG_DEVICE"):
        get_settings()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LOWEST_RUNG_DEVISE=cpu", "no setting LOWEST_RUNG_DEVISE.*mean LOWEST_RUNG_DEVICE"),
        ("OPENAI_API_KEY=k-123", "holds OPENAI_API_KEY.*in the environment"),
        ("LOWEST_RUNG_HEARTBEAT_S=often", "LOWEST_RUNG_HEARTBEAT_S is not usable"),
    ],
)
def test_wrong_line_in_dotenv_is_refused(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(line + "\n", encoding="utf-8")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    get_settings.cache_clear()
    with pytest.raises(UserError, match=message) as refused:
        get_settings()
    assert "k-123" not in str(refused.value)


def test_home_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LOWEST_RUNG_HOME", str(tmp_path / "file" / "home"))
    get_settings.cache_clear()
    with pytest.raises(UserError, match=r"cannot be made.*LOWEST_RUNG_HOME"):
        get_settings()


def test_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_GENERATION_KEY", "k-123")
    get_settings.cache_clear()
    assert "k-123" not in repr(get_settings())
    assert get_settings().generation_key.get_secret_value() == "k-123"


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWEST_RUNG_HOME", "here")
    monkeypatch.setenv("LOWEST_RUNG_DATABASE_URL", "sqlite:///records.db")
    get_settings.cache_clear()
    assert get_settings().home == tmp_path / "here"
    assert get_settings().records_url == f"sqlite:///{tmp_path / 'records.db'}"
    assert list((tmp_path / "here").iterdir()) == []
