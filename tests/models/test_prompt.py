"""What a model is shown, rung by rung."""

from __future__ import annotations

from core.models.prompt import PASSAGES_HEADER, TOOLS_HEADER, Passage, Shot, build_messages, calls_text

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    SYSTEM,
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "ok"},
    {"role": "user", "content": "second"},
]
SHOT = Shot((SYSTEM, {"role": "user", "content": "worked"}), "example")
PASSAGES = [Passage("Tides", "Four metres."), Passage("Dogs", "On a lead.")]


def test_without_switches_the_chat_is_shown_as_it_is() -> None:
    assert build_messages(TURNS) == TURNS


def test_shots_stand_between_instructions_and_question() -> None:
    shown = build_messages(TURNS, [SHOT])
    assert shown == [
        SYSTEM,
        {"role": "user", "content": "worked"},
        {"role": "assistant", "content": "example"},
        *TURNS[1:],
    ]


def test_passages_stand_before_the_last_question_with_their_titles() -> None:
    shown = build_messages(TURNS, passages=PASSAGES)
    assert shown[:3] == TURNS[:3]
    assert shown[3]["content"] == f"{PASSAGES_HEADER}\n\n[Tides]\nFour metres.\n\n[Dogs]\nOn a lead.\n\nsecond"


def test_prompts_of_one_rung_differ_only_after_the_shots() -> None:
    one, two = (build_messages([SYSTEM, {"role": "user", "content": text}], [SHOT], PASSAGES) for text in "ab")
    assert one[:-1] == two[:-1] and one[-1] != two[-1]


def test_what_is_given_is_not_changed() -> None:
    before = [dict(turn) for turn in TURNS]
    build_messages(TURNS, [SHOT], PASSAGES)
    assert before == TURNS


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Lerwick"}'}}
CALLED = '<tool_call>\n{"name": "weather", "arguments": {"place": "Lerwick"}}\n</tool_call>'


def test_tool_calls_and_what_they_gave_are_shown_as_text() -> None:
    turns = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "content": "dry", "tool_call_id": "1"},
    ]
    assert build_messages(turns) == [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": CALLED},
        {"role": "user", "content": "<tool_response>\ndry\n</tool_response>"},
    ]


def test_tools_are_described_at_the_end_of_the_instructions() -> None:
    described = f'{TOOLS_HEADER}\n{{"name": "weather", "parameters": {{"type": "object"}}}}'
    assert build_messages(TURNS, tools=[WEATHER])[0]["content"] == f"Be brief.\n\n{described}"
    assert build_messages(TURNS[1:], tools=[WEATHER])[0] == {"role": "system", "content": described}
    assert SYSTEM["content"] == "Be brief."


def test_arguments_that_are_no_json_are_kept_as_they_are() -> None:
    assert '"arguments": "{place"' in calls_text([{"name": "weather", "arguments": "{place"}])
