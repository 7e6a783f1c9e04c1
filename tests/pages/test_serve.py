"""Serve: the server from the page, talking to what it offers, its keys, its code and its speed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from streamlit.testing.v1 import AppTest

from core.api import keys, models, serve_job
from core.api.errors import ApiError
from core.documents.index import build_index, create_index
from core.documents.reading import SourceDocument
from core.errors import UserError
from core.jobs import launcher, queue
from core.models.generation import Sampling
from core.settings import get_settings
from core.store.database import session
from core.store.lists import adapter as stored
from core.store.tables import Adapter, ApiKey, Job, Metric
from pages.widgets import serve_code
from pages.widgets.serve_speed import NAMES, Series
from pages.widgets.serve_stream import Access, Exchange, Side, Spoken, prompts_of
from pages.widgets.talk import effort
from tests.pages.furnish import NASTY, Furnished, ended
from tests.pages.looking import Open, texts

LONGEST_S = 60.0
SYSTEM = "Sort the message. Answer as JSON."


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def until(true: Callable[[], object]) -> None:
    """Wait for it; fails after a while."""
    give_up = time.monotonic() + LONGEST_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def codes(app: AppTest) -> list[str]:
    return [element.value for element in app.code]


def tab(app: AppTest, name: str) -> AppTest:
    app.session_state["serve_tabs"] = name
    app.run()
    assert not app.exception
    return app


def a_server(status: str = "running", url: str = "http://127.0.0.1:8765/v1", **columns: object) -> int:
    """A server's record; a running one is this process, which answers at `url`."""
    job_id = queue.submit("serve", {"host": "127.0.0.1", "port": 8000}, title="Server", device="server", start=False)
    now = time.time()
    values: dict[str, object] = {"status": status, "started_at": now - 60} | columns
    if status == "running":
        pid = os.getpid()
        values |= {"pid": pid, "process_started": launcher.start_time(pid), "heartbeat_at": now}
        values |= {"notes": {"url": url, "since": now}}
    else:
        values["finished_at"] = now - 5
    with session() as db:
        db.execute(update(Job).where(Job.id == job_id).values(**values))
    return job_id


@pytest.fixture
def tuned(furnished: Furnished, tiny_model: Path) -> Adapter:
    """The furnished adapter as a real one, on the tiny model, which changes what that says."""
    from peft import LoraConfig, get_peft_model

    from core.models.loading import load_model

    adapter = stored(furnished.adapter)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(load_model(str(tiny_model)).model, lora).save_pretrained(get_settings().home / adapter.path)
    with session() as db:
        db.get_one(Adapter, adapter.id).base_model = str(tiny_model)
    return stored(adapter.id)


@pytest.fixture
def served(tuned: Adapter) -> Iterator[str]:
    """A real server of the furnished home, in a thread of this process; its base URL."""
    from core.api.app import create_app

    opened = models.Models()
    server = serve_job.make_server(create_app(opened))
    listening = serve_job.bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    a_server(url=url)
    yield url
    server.should_exit = True
    thread.join(20)
    opened.close()


def exchanges(app: AppTest) -> list[Exchange]:
    return list(app.session_state[str(app.chat_input[0].key).replace("question_", "talk_", 1)])


def answered(app: AppTest) -> Exchange:
    """The last question, once it is answered and the page has drawn that."""
    last = exchanges(app)[-1]
    until(lambda: last.over)
    app.run()
    assert not app.exception
    assert last.error is None
    return last


# The server


def test_it_is_started_from_the_page(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("serve")
    assert "The server is not running" in texts(app)
    app.number_input(key="serve_port").set_value(8123).run()
    app.button(key="serve_start").click().run()
    assert not app.exception
    job = queue.jobs("serve")[0]
    assert (job.device, job.spec["port"], job.spec["host"]) == ("server", 8123, "127.0.0.1")
    assert ":shimmer[" in texts(app)
    assert not any(button.key == "serve_start" for button in app.button)


def test_a_killed_server_says_so_and_is_started_again(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    killed = a_server("interrupted", error="The job's process is gone.")
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("serve")
    assert "The server ended unexpectedly" in texts(app)
    app.button(key="serve_start").click().run()
    assert queue.jobs("serve")[0].status == "queued"
    assert queue.jobs("serve")[0].id >= killed


def test_why_it_could_not_start_is_said(open_page: Open, furnished: Furnished) -> None:
    a_server("failed", error=f"Port 8000 is in use. {NASTY}", remedy="Choose another.")
    app = open_page("serve")
    assert "Port 8000 is in use" in texts(app).replace("\\", "")
    assert "Choose another" in texts(app)
    assert NASTY not in "\n".join(alert.value + alert.proto.title for alert in app.error)


def test_a_server_that_runs_shows_its_address_and_can_be_stopped(open_page: Open, furnished: Furnished) -> None:
    job_id = a_server()
    app = open_page("serve")
    assert "http://127.0.0.1:8765/v1" in codes(app)
    assert "No key is needed" in texts(app)
    app.button(key="serve_stop").click().run()
    assert queue.get(job_id).stop_requested_at is not None
    assert app.button(key="serve_stop").disabled


@pytest.mark.integration
def test_a_real_process_serves_until_it_is_stopped(open_page: Open, furnished: Furnished) -> None:
    import httpx

    port = free_port()
    app = open_page("serve")
    app.number_input(key="serve_port").set_value(port).run()
    app.button(key="serve_start").click().run()
    job_id = queue.jobs("serve")[0].id
    until(lambda: queue.get(job_id).notes.get("url") or queue.get(job_id).error)
    app.run()
    assert f"http://127.0.0.1:{port}/v1" in codes(app), queue.log_tail(job_id)
    assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    app.button(key="serve_stop").click().run()

    def over() -> bool:
        queue.dispatch()
        return queue.get(job_id).status not in queue.ACTIVE

    until(over)
    app.run()
    assert queue.get(job_id).status == "stopped"
    assert "Stopped just now" in texts(app)
    assert not app.exception


# Which model


def test_the_address_names_the_model(open_page: Open, furnished: Furnished) -> None:
    name = models.public_name(stored(furnished.adapter))
    app = open_page("serve", adapter=furnished.adapter)
    assert app.selectbox(key="serve_chosen").value == name
    base = next(model.name for model in models.offered() if model.adapter is None)
    app.selectbox(key="serve_chosen").set_value(base).run()
    assert app.query_params == {"model": base}
    assert open_page("serve", model=base).selectbox(key="serve_chosen").value == base
    gone = open_page("serve", adapter=99)
    assert "no model with this number" in texts(gone)
    assert gone.selectbox(key="serve_chosen").value == name


def test_a_model_is_switched_off_and_on(open_page: Open, furnished: Furnished) -> None:
    a_server()
    name = models.public_name(stored(furnished.adapter))
    app = tab(open_page("serve", adapter=furnished.adapter), "Models")
    assert name in codes(app)
    app.toggle(key=f"offer_{name}").set_value(False).run()
    assert {model.name for model in models.offered() if model.withheld} == {name}
    assert "Switched off" in texts(tab(app, "Talk"))
    assert not app.chat_input
    app.button(key="serve_offer").click().run()
    assert not any(model.withheld for model in models.offered())
    assert app.chat_input


# Talking


def test_an_index_is_offered_and_the_training_is_linked(open_page: Open, furnished: Furnished) -> None:
    app = open_page("serve", adapter=furnished.adapter)
    assert app.selectbox(key="serve_index").options[1:] == [f"Handbook (number {furnished.index})"]
    assert app.get("page_link")


def test_without_a_server_talking_offers_to_start_it(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("serve", adapter=furnished.adapter)
    assert not app.chat_input
    app.button(key="start_talk").click().run()
    assert queue.jobs("serve")[0].status == "queued"
    assert "The server is starting" in texts(app)


@pytest.mark.integration
def test_one_question_is_answered_by_two_models_at_once(open_page: Open, served: str, tuned: Adapter) -> None:
    app = open_page("serve", adapter=tuned.id)
    assert app.text_area(key=f"serve_system_{models.public_name(tuned)}").value == SYSTEM
    app.number_input(key="serve_tokens").set_value(12).run()
    base = next(m.name for m in models.offered() if m.base == tuned.base_model and m.adapter is None)
    app.selectbox(key=f"serve_beside_{models.public_name(tuned)}").set_value(base).run()
    app.chat_input[0].set_value(f"Hello {NASTY}").run()
    exchange = answered(app)
    lora, alone = exchange.answers.values()
    assert (lora.error, alone.error) == (None, None)
    assert lora.text and alone.text and lora.text != alone.text
    assert lora.text in [element.value for element in app.text]
    assert NASTY not in "\n".join(element.value for element in [*app.markdown, *app.caption])
    assert lora.output_tokens == 12 and lora.finish_reason == "length"
    assert lora.first_s is not None and lora.tokens_per_s is not None
    assert "12 out" in texts(app) and "tokens/s" in texts(app) and "first word after" in texts(app)
    # The next question carries what each of them said.
    app.chat_input[0].set_value("And now?").run()
    second = answered(app)
    assert all(spoken.input_tokens > lora.input_tokens for spoken in second.answers.values())
    app.button(key=next(b.key for b in app.button if (b.key or "").startswith("clear_"))).click().run()
    assert not any(message for message in app.chat_message)


@pytest.mark.integration
def test_passages_go_to_one_side_and_not_to_the_other(open_page: Open, served: str, tuned: Adapter) -> None:
    index_id = create_index("Ferry", [SourceDocument("ramp.md", "Ramp", "The ramp opens at six.")]).id
    build_index(index_id)
    app = open_page("serve", adapter=tuned.id)
    app.number_input(key="serve_tokens").set_value(8).run()
    app.selectbox(key="serve_index").set_value(index_id).run()
    app.selectbox(key=f"serve_beside_{models.public_name(tuned)}").set_value("The same, without passages").run()
    app.chat_input[0].set_value("When does the ramp open?").run()
    exchange = answered(app)
    assert [found["title"] for found in exchange.passages] == ["Ramp"]
    looked, alone = exchange.answers.values()
    assert looked.input_tokens > alone.input_tokens
    assert "No passage says this" in texts(app) or "of the answer is in passage" in texts(app)
    assert sum(fold.label == "1 passage" for fold in app.expander) == 1


@pytest.mark.integration
def test_a_stopped_answer_ends_at_once_and_keeps_what_was_said(served: str, tuned: Adapter) -> None:
    name = models.public_name(tuned)
    exchange = Exchange([user("Go on and on.")])
    side = Side("Tickets", name, "#009E73", False)
    access = Access(served, keys.page_key())
    exchange.begin(access, {side: exchange.asked}, Sampling(400), list)
    spoken = exchange.answers[side.id]
    until(lambda: spoken.text or exchange.over)
    exchange.stop()
    until(lambda: spoken.seconds is not None)
    assert spoken.finish_reason == "" and spoken.error is None
    assert "stopped" in effort(spoken)


@pytest.mark.integration
def test_what_the_server_refuses_is_said_in_words(served: str, tuned: Adapter) -> None:
    def asked(model: str, text: str, url: str = served) -> UserError:
        exchange, side = Exchange([user(text)]), Side("Side", model, "#009E73", False)
        exchange.begin(Access(url, keys.page_key()), {side: exchange.asked}, Sampling(8), list)
        until(lambda: exchange.over)
        error = exchange.answers[side.id].error
        assert error is not None
        return error

    assert "does not exist" in asked("nobody", "Hello").what
    assert "token" in asked(models.public_name(tuned), "word " * 600).what
    assert "cannot be reached" in asked("any", "Hello", f"http://127.0.0.1:{free_port()}/v1").what


def test_both_sides_are_asked_the_same_with_their_own_answers() -> None:
    base, lora = Side("base", "b", "#8A8F98"), Side("mine", "a", "#009E73")

    def exchange(text: str, said: dict[Side, Spoken], fresh: bool = False) -> Exchange:
        made = Exchange([user(text)], fresh=fresh)
        made.answers = {side.id: spoken for side, spoken in said.items()}
        return made

    told = [
        exchange("Old", {base: Spoken("o"), lora: Spoken("O")}),
        exchange("One", {base: Spoken("b1"), lora: Spoken("a1")}, fresh=True),
        exchange("Stopped", {base: Spoken("half"), lora: Spoken()}),
        exchange("Failed", {base: Spoken("b2"), lora: Spoken("a", error=UserError("It broke."))}),
        exchange("Two", {}),
    ]
    asked = prompts_of(told, [base, lora], [{"role": "system", "content": "S"}])
    assert {side.name: [turn["content"] for turn in turns] for side, turns in asked.items()} == {
        "base": ["S", "One", "b1", "Two"],
        "mine": ["S", "One", "a1", "Two"],
    }


def test_what_an_answer_took_is_said_in_a_line() -> None:
    whole = Spoken("text", 0.25, 2.25, 30, 21, "stop")
    assert effort(whole) == "30 tokens in, 21 out · 10 tokens/s · first word after 0.25 s · 2.2 s in all"
    assert effort(Spoken("half", 0.25, 1.0)) == "first word after 0.25 s · 1.0 s in all · stopped"
    assert "cut at the longest" in effort(Spoken("text", 0.1, 1.0, 3, 8, "length"))


# Beside its base, on Train


def beside(adapter_id: int) -> AppTest:
    """What Train shows below a run that is done."""

    def script(adapter_id: int) -> None:
        from core.store.lists import adapter
        from pages.widgets import beside

        beside.draw(adapter(adapter_id))

    app = AppTest.from_function(script, default_timeout=30, args=(adapter_id,)).run()
    assert not app.exception
    return app


def test_stopped_and_failed_answers_say_so(furnished: Furnished) -> None:
    from pages.widgets.beside import sides_of

    a_server()
    base, lora = sides_of(stored(furnished.adapter))
    failed, waiting = Exchange([user(NASTY)]), Exchange([user("Next")])
    failed.answers = {base.id: Spoken(f"Well {NASTY}", 0.1, 0.2, 3, 4, "stop"), lora.id: Spoken()}
    failed.answers[lora.id].error = UserError(f"It broke {NASTY}", "Mend it.")
    failed.over = True
    waiting.answers = {base.id: Spoken("The first", 0.1, 0.5, 3, 4, "stop"), lora.id: Spoken()}
    app = beside(furnished.adapter)
    app.session_state[f"talk_beside_{furnished.adapter}"] = [failed, waiting]
    app.run()
    assert "It broke" in texts(app)
    assert {NASTY, f"Well {NASTY}"} <= {element.value for element in app.text}
    assert NASTY not in "\n".join(element.value for element in [*app.markdown, *app.caption])
    assert NASTY not in "\n".join(e.value for e in app.error) + "\n".join(e.proto.title for e in app.error)
    assert ":shimmer[" in texts(app) and "The first" in texts(app)
    app.button(key=f"stop_beside_{furnished.adapter}").click().run()
    assert not app.exception
    assert waiting.over
    assert ":shimmer[" not in texts(app) and "The first" in texts(app)


@pytest.mark.integration
def test_adapter_answers_beside_its_base(served: str, tuned: Adapter) -> None:
    """One question to a real model with a real adapter on it, which changes what it says. The app needs no key."""
    keys.create("Somebody")
    app = beside(tuned.id)
    app.number_input(key="serve_tokens").set_value(8).run()
    app.button(key=f"suggestion_beside_{tuned.id}_0").click().run()
    exchange = answered(app)
    base, lora = exchange.answers.values()
    assert base.text and lora.text and base.text != lora.text
    assert lora.text in texts(app)
    assert exchange.expected in texts(app).replace("\\", "")
    # Instructions are those of the training data, as on Serve.
    assert app.text_area(key=f"beside_system_{tuned.id}").value == SYSTEM
    app.button(key=f"clear_beside_{tuned.id}").click().run()
    assert app.session_state[f"talk_beside_{tuned.id}"] == []


# Code


@pytest.mark.integration
@pytest.mark.parametrize("locked", [False, True])
def test_the_code_runs_as_it_is_copied(served: str, tuned: Adapter, open_page: Open, locked: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
    if locked:
        environment[serve_code.KEY_VARIABLE] = keys.create("Test")[1]
    app = tab(open_page("serve", adapter=tuned.id), "Code")
    python, curl, script = codes(app)[-3:]
    assert all((serve_code.KEY_VARIABLE in code) is locked for code in (python, curl, script))

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run(sys.executable, "-c", python).strip()
    answer = json.loads(run("bash", "-c", curl.replace("curl ", "curl --silent --noproxy '*' ", 1)))
    assert answer["model"] == models.public_name(tuned)
    assert said and answer["choices"][0]["message"]["content"].strip() == said


def test_whatever_the_instruction_holds_the_code_stays_code(tmp_path: Path) -> None:
    said = 'It\'s "quoted" $HOME `ls`\nnew line \\ back </script> ${x} é'
    messages = [{"role": "system", "content": said}]
    compile(serve_code.python("http://127.0.0.1:1/v1", "m", messages, True), "code", "exec")
    shell = serve_code.curl("http://127.0.0.1:1/v1", "m", messages, False).replace("curl ", "printf '%s\\n' ", 1)
    printed = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed[printed.index("{") :])["messages"] == messages
    script = tmp_path / "code.mjs"
    script.write_text(serve_code.javascript("http://127.0.0.1:1/v1", "m", messages, True), encoding="utf-8")
    try:
        subprocess.run(["node", "--check", str(script)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("node is not installed")


# Keys


def test_a_key_is_shown_once(open_page: Open, furnished: Furnished) -> None:
    app = tab(open_page("serve"), "Keys")
    assert "None so far" in texts(app)
    app.text_input(key="key_name").set_value(f"Ann {NASTY}")
    app.number_input(key="key_days").set_value(30)
    app.number_input(key="key_requests").set_value(60)
    next(button for button in app.button if button.label == "Make the key").click().run()
    assert not app.exception
    (made,) = keys.keys()
    assert (made.name, made.requests_per_minute, made.tokens_per_minute) == (f"Ann {NASTY}", 60, None)
    assert made.expires_at == pytest.approx(time.time() + 30 * 86_400, abs=60)
    (key,) = [code for code in codes(app) if code.startswith("lr-")]
    found = keys.authorize(key)
    assert found is not None and found.id == made.id
    assert NASTY not in "\n".join(element.value for element in [*app.markdown, *app.caption])
    app.button(key="serve_key_copied").click().run()
    assert not any(code.startswith("lr-") for code in codes(app))
    assert key not in texts(app)


def test_a_key_without_a_name_is_refused_in_words(open_page: Open, furnished: Furnished) -> None:
    app = tab(open_page("serve"), "Keys")
    next(button for button in app.button if button.label == "Make the key").click().run()
    assert "needs a name" in texts(app)
    assert keys.keys() == []


def test_a_revoked_key_opens_nothing_and_can_be_removed(open_page: Open, furnished: Furnished) -> None:
    made, key = keys.create("Ann")
    with session() as db:
        db.execute(update(ApiKey).values(last_used_at=time.time() - 7200))
    app = tab(open_page("serve"), "Keys")
    assert "last used 2 h 0 min ago" in texts(app)
    app.button(key=f"key_revoke_{made.id}").click().run()
    with pytest.raises(ApiError):
        keys.authorize(key)
    app.button(key=f"key_forget_{made.id}").click().run()
    assert not app.exception
    assert keys.keys() == []


# Speed


def test_speed_is_said_and_drawn_once_there_is_traffic(open_page: Open, furnished: Furnished) -> None:
    job_id = a_server()
    app = tab(open_page("serve"), "Speed")
    assert "Nothing measured yet" in texts(app) and "Nobody has asked it anything yet" in texts(app)
    measured: list[dict[str, float | None]] = [
        {"requests_per_min": 0, "tokens_per_s": 0, "first_token_ms_p50": None, "first_token_ms_p95": None},
        {"requests_per_min": 12, "tokens_per_s": 140.4, "first_token_ms_p50": 200, "first_token_ms_p95": 610},
    ]
    rows = [
        {"job_id": job_id, "step": step, "name": name, "value": value, "time": time.time() + 5 * step}
        for step, values in enumerate(measured)
        for name, value in (values | {"running": 2, "waiting": 1}).items()
    ]
    with session() as db:
        db.execute(insert(Metric), rows)
    app.run()
    said = texts(app)
    assert (
        "First word after **0.2 s**, 95 of 100 within **0.61 s**; 12 requests and 140 tokens/s over the last minute."
        in said
    )
    assert "2 answers being written, 1 waiting." in said
    assert len(app.get("plotly_chart")) == 3


def test_the_last_hour_is_kept_and_no_more(home: Path) -> None:
    job_id = ended("serve", {}, "Server")
    rows = [
        {"job_id": job_id, "step": i, "name": "tokens_per_s", "value": float(i), "time": 5.0 * i} for i in range(900)
    ]
    with session() as db:
        db.execute(insert(Metric), rows)
    series = Series(job_id)
    series.update()
    series.update()
    assert len(series.points["tokens_per_s"]) == 720
    assert series.latest("tokens_per_s") == 899
    assert not series.answered
    assert set(series.points) == set(NAMES)
