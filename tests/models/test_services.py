"""Services a person names: kept with their keys out of sight, reached by their models' names, clear when wrong."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from core.errors import UserError
from core.models import services
from core.models.generation import Request, Sampling
from core.models.open import concurrency_of, endpoint_of, is_remote, open_generator, price_of
from core.models.services import Service
from core.settings import get_settings
from core.store.database import session
from tests.models.service import Handler, echo, serving
from tests.models.service import Service as Loopback

ASK = [Request([{"role": "user", "content": "hello"}])]


def listing(handler: Handler) -> None:
    handler.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in ("b/2", "a:1")]})


@pytest.fixture
def saved(home: Path) -> Any:
    with serving(echo) as server:
        services.save(Service(name="local", url=f"{server.url}/", price_output=2.0, concurrency=3), "s3cret-key")
        yield server


def test_model_of_a_service_answers_with_its_key_and_prices(saved: Loopback) -> None:
    model = "remote:local/org/name:v2"
    ((pair,),) = list(open_generator(model).answer(ASK, Sampling(8)))
    assert pair[1].text == "hello" and pair[1].cost_usd == pytest.approx(3 * 2.0 / 1e6)
    assert saved.requests[0]["model"] == "org/name:v2"
    assert saved.keys == {"Bearer s3cret-key"}
    assert is_remote(model) and price_of(model) == (0, 2.0) and concurrency_of(model) == 3
    assert price_of("somewhere/else") == (0, 0)


def test_a_model_with_prices_of_its_own_costs_those(saved: Loopback) -> None:
    services.set_prices("local", "ft:m", (3.0, 12.0))
    assert price_of("remote:local/ft:m") == (3.0, 12.0) and price_of("remote:local/m") == (0, 2.0)
    ((pair,),) = list(open_generator("remote:local/ft:m").answer(ASK, Sampling(8)))
    assert pair[1].cost_usd == pytest.approx((11 * 3.0 + 3 * 12.0) / 1e6)
    assert services.key_of(services.service("local")) == "s3cret-key"


def test_keys_are_in_a_file_of_their_own_that_others_cannot_read(saved: Loopback, home: Path) -> None:
    for path in (home / "services.yaml", home / "services.keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "s3cret-key" not in (home / "services.yaml").read_text()
    with session(read_only=True) as db:
        dumped = "\n".join(db.connection().connection.driver_connection.iterdump())
    assert "s3cret-key" not in dumped
    assert "s3cret-key" not in repr(services.services())


def test_variable_comes_before_the_saved_key(saved: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    services.save(services.service("local").model_copy(update={"key_variable": "MY_LOCAL_KEY"}))
    assert endpoint_of("remote:local/m")[0].key == "s3cret-key"
    monkeypatch.setenv("MY_LOCAL_KEY", "from-variable")
    assert endpoint_of("remote:local/m")[0].key == "from-variable"


def test_change_keeps_the_key_and_removal_forgets_it(saved: Loopback, home: Path) -> None:
    services.save(Service(name="other", url="http://127.0.0.1:9"), "second")
    services.save(services.service("local").model_copy(update={"concurrency": 1}))
    assert endpoint_of("remote:local/m")[0].key == "s3cret-key"
    services.delete("local")
    assert [each.name for each in services.services()] == ["other"]
    assert "s3cret" not in (home / "services.keys").read_text()
    with pytest.raises(UserError, match=r"no service called local.*Known: other"):
        open_generator("remote:local/m")


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://x/v1"},
        {"url": "127.0.0.1:8000"},
        {"url": "http://user:pass@host/v1"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "x" * 41},
        {"price_input": -1},
        {"concurrency": 0},
        {"key_variable": "MY KEY"},
        {"unknown": 1},
    ],
)
def test_impossible_service_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Service.model_validate({"name": "a", "url": "http://host/v1"} | fields)


@pytest.mark.parametrize("written", ["{not", "- name: x", "- 3", "- {name: x, url: 'http://h', secret: 1}"])
def test_damaged_file_is_named(home: Path, written: str) -> None:
    (get_settings().home / "services.yaml").write_text(written)
    with pytest.raises(UserError, match=r"services.yaml in the home folder"):
        services.services()


def test_damaged_keys_are_named_without_being_shown(home: Path) -> None:
    (get_settings().home / "services.keys").write_text("{hidden-key")
    with pytest.raises(UserError, match=r"services.keys in the home folder") as caught:
        services.key_of(Service(name="a", url="http://h"))
    assert "hidden" not in str(caught.value) and caught.value.__cause__ is None


def test_model_without_service_or_name_is_refused(home: Path) -> None:
    for model in ("remote:local", "remote:/m", "remote:local/"):
        with pytest.raises(UserError, match="names no model"):
            open_generator(model)


def test_models_are_listed_or_it_is_said_why_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        listing: None,
        (lambda handler: handler.refuse(401, "Incorrect API key")): r"status 401\. Check the key",
        (lambda handler: handler.reply(404, b"<html>")): r"status 404",
        (lambda handler: handler.reply(200, b"{nonsense")): "did not answer with a list",
        (lambda handler: handler.reply(200, [1])): "did not answer with a list",
        (lambda handler: handler.drop()): "could not be reached",
    }
    for reply, message in said.items():
        monkeypatch.setattr(Handler, "do_GET", lambda handler, reply=reply: reply(handler), raising=False)
        with serving(echo) as server:
            services.save(Service(name="s", url=server.url))
            if message is None:
                assert services.models_of("s") == ["remote:s/a:1", "remote:s/b/2"]
            else:
                with pytest.raises(UserError, match=message):
                    services.models_of("s")


def test_database_has_no_column_for_secrets(home: Path) -> None:
    with session(read_only=True) as db:
        inspector = sa.inspect(db.get_bind())
        tables = inspector.get_table_names()
        columns = {column["name"] for column in inspector.get_columns("api_keys")}
    # Of the server's own keys there is a hash, and what a person knows one again by.
    assert [name for name in tables if "key" in name or "secret" in name] == ["api_keys"]
    assert {"hash", "beginning"} <= columns and not columns & {"key", "secret", "token"}
