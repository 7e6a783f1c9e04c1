"""The rules of the wizard keep what the advice promises, for every path and for thousands of answers."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
import re
import statistics
from collections.abc import Iterator, Mapping

import pytest

from core.decide.answers import UNSURE, Answer, settled
from core.decide.conditions import depends_on, holds
from core.decide.engine import Advice, Flip, advise, examples_needed, open_questions, rung_of, texts_for
from core.decide.rulebook import rulebook
from core.decide.schema import TODAY, Branch, Condition, Question

BOOK = rulebook()
QUESTIONS = {question.id: question for question in BOOK.questions}
NUMBERS = [key for key, question in QUESTIONS.items() if question.kind == "number"]
NOW, LAST_DAY, CLOSED = dt.date(2026, 11, 21), dt.date(2027, 1, 5), dt.date(2027, 1, 6)
MANAGED = {"managed", "rag+managed"}

Answers = dict[str, Answer]
# Tests with their outcomes, and the rung at the end.
Path = tuple[tuple[tuple[str, bool], ...], str]


def values_of(question: Question) -> list[Answer]:
    """Every button of a question; of a number also its ends and both sides of each threshold in its unit."""
    if question.kind != "number":
        return list(question.values())
    points = [t.value for t in BOOK.thresholds.values() if t.unit == question.unit and isinstance(t.value, float)]
    sides = {side for point in points for side in (point, point - 1 if point > 1 else point / 2)}
    return sorted({*map(float, question.typical), *sides, 0.0, 1.0, question.most})


VALUES = {key: values_of(question) for key, question in QUESTIONS.items()}


def draw(rng: random.Random, least: float = 0.0) -> Answers:
    """Answers of a random person, who answers a random share of the questions, from `least` up, a few with "unsure"."""
    share = rng.uniform(least, 1)
    return {
        key: UNSURE if rng.random() < 0.05 else rng.choice(values)
        for key, values in VALUES.items()
        if rng.random() < share
    }


def fires(condition: Condition, answers: Mapping[str, Answer], today: dt.date) -> bool:
    """Whether a rule holds when open questions stay open, by the conditions alone."""
    return holds(condition, {**BOOK.presumed(), **settled(answers), TODAY: today}, BOOK, settled=True) is True


def walk(answers: Mapping[str, Answer], today: dt.date) -> Path:
    """The path through the tree, walked here and not by the engine."""
    steps, name = [], BOOK.rules.root
    while name in BOOK.rules.tree:
        steps.append((name, fires(BOOK.rules.tree[name].when, answers, today)))
        name = branch(*steps[-1]).to
    return tuple(steps), name


def branch(test: str, outcome: bool) -> Branch:
    return BOOK.rules.tree[test].then if outcome else BOOK.rules.tree[test].otherwise


def paths(name: str = BOOK.rules.root) -> Iterator[Path]:
    """Every way from a test to a rung."""
    if name not in BOOK.rules.tree:
        yield (), name
        return
    for outcome in (True, False):
        for rest, rung in paths(branch(name, outcome).to):
            yield ((name, outcome), *rest), rung


def search(wanted: list[tuple[Condition, bool]], given: Answers, today: dt.date = NOW) -> Answers | None:
    """Answers, beyond those given, that decide each condition as wanted; None if there are none. Tries them all."""
    for condition, outcome in wanted:
        found = holds(condition, {**given, TODAY: today}, BOOK)
        if found is (not outcome):
            return None
        if found is None:
            key = next(iter(depends_on(condition, {**given, TODAY: today}, BOOK)))
            tried = (search(wanted, {**given, key: value}, today) for value in VALUES[key])
            return next((answers for answers in tried if answers is not None), None)
    return given


@pytest.fixture(scope="module")
def advised() -> list[tuple[Answers, dt.date, Advice]]:
    """Advice for thousands of people: some who answer anything from nothing to all, most who answer nearly all."""
    rng = random.Random(20261121)
    people = [draw(rng) for _ in range(200)] + [draw(rng, least=0.75) for _ in range(1800)]
    days = [rng.choice((NOW, LAST_DAY, CLOSED)) for _ in people]
    return [(answers, day, advise(answers, today=day)) for answers, day in zip(people, days, strict=True)]


Advised = list[tuple[Answers, dt.date, Advice]]


# The tree


@pytest.mark.parametrize("path", list(paths()), ids=lambda path: " ".join(f"{t}={o}" for t, o in path[0]))
def test_every_path_is_reached_and_told_step_by_step(path: Path) -> None:
    steps, rung = path
    answers = search([(BOOK.rules.tree[test].when, outcome) for test, outcome in steps], {})
    assert answers is not None, "no answers lead here"
    advice = advise(answers, today=NOW)
    assert advice.rung == rung
    assert rung in BOOK.rungs
    assert tuple((step.test, step.holds) for step in advice.path) == steps
    assert not any(step.assumed for step in advice.path)
    told = {reason.rule: (reason.text, reason.trade_off) for reason in advice.reasons}
    for test, outcome in steps:
        assert told[test] == (branch(test, outcome).because, branch(test, outcome).less_flexible)


def test_every_rung_is_at_the_end_of_some_path_and_every_test_on_one() -> None:
    found = list(paths())
    assert {rung for _, rung in found} == set(BOOK.rungs)
    assert {test for steps, _ in found for test, _ in steps} == set(BOOK.rules.tree)


def test_engine_walks_the_tree_as_the_rules_are_written() -> None:
    rng = random.Random(1)
    for _ in range(20_000):
        answers, day = draw(rng), rng.choice((NOW, LAST_DAY, CLOSED))
        assert rung_of(answers, day) == walk(answers, day)[1], answers


def test_what_is_decided_stays_so_however_open_questions_are_answered() -> None:
    rng = random.Random(2)
    conditions = [test.when for test in BOOK.rules.tree.values()]
    for _ in range(1_000):
        given = {**settled(draw(rng)), TODAY: NOW}
        for condition in conditions:
            found = holds(condition, given, BOOK)
            if found is not None:
                assert list(depends_on(condition, given, BOOK)) == []
                for _ in range(5):
                    more = {key: rng.choice(values) for key, values in VALUES.items() if key not in given}
                    assert holds(condition, {**given, **more}, BOOK) is found, (condition, given, more)


# The cases of the issue


@pytest.mark.parametrize(
    ("answers", "rungs"),
    [
        ({}, {"prompt"}),
        ({"prompt_tried": "no", "gap": "behavior"}, {"prompt"}),
        ({"gap": "knowledge", "corpus_tokens": 50_000, "changes_often": False}, {"long-context"}),
        ({"gap": "knowledge", "corpus_tokens": 199_999, "changes_often": False}, {"long-context"}),
        ({"gap": "knowledge", "corpus_tokens": 200_000, "changes_often": False}, {"rag"}),
        ({"gap": "knowledge", "corpus_tokens": 50_000, "changes_often": True}, {"rag"}),
        ({"gap": "knowledge"}, {"rag"}),
        ({"changes_often": True}, {"rag"}),
        ({"private_documents": True}, {"rag"}),
        ({"needs_citations": True}, {"rag"}),
        ({"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 99}, {"lora", "qlora"}),
        ({"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 100}, {"managed"}),
        (
            {"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 5_000, "data_may_leave": False},
            {"lora", "qlora"},
        ),
        ({"prompt_tried": "exhausted", "gap": "behavior", "gpu_gb": 8}, {"qlora"}),
        ({"prompt_tried": "exhausted", "gap": "behavior", "gpu_gb": 24}, {"lora"}),
        ({"prompt_tried": "exhausted", "gap": "both", "budget_usd": 99}, {"rag+lora", "rag+qlora"}),
        ({"prompt_tried": "exhausted", "gap": "both", "budget_usd": 100}, {"rag+managed"}),
        ({"prompt_tried": "exhausted", "gap": "both", "gpu_gb": 8}, {"rag+qlora"}),
    ],
)
def test_issue_is_answered_as_it_asks(answers: Answers, rungs: set[str]) -> None:
    assert advise(answers, today=NOW).rung in rungs


def test_without_answers_the_prompt_is_advised_with_low_confidence() -> None:
    advice = advise({}, today=NOW)
    assert (advice.rung, advice.confidence_word) == ("prompt", "low")
    assert all(step.assumed for step in advice.path)


# What is said


def test_reported_path_is_the_one_the_rules_take(advised: Advised) -> None:
    for answers, day, advice in advised:
        steps, rung = walk(answers, day)
        assert advice.rung == rung
        assert tuple((step.test, step.holds) for step in advice.path) == steps
        assert [reason.rule for reason in advice.reasons[: len(steps)]] == [test for test, _ in steps]


def test_a_step_is_assumed_exactly_when_an_open_question_can_turn_it(advised: Advised) -> None:
    for answers, day, advice in advised:
        given = {**settled(answers), TODAY: day}
        for step in advice.path:
            open_ = list(depends_on(BOOK.rules.tree[step.test].when, given, BOOK))
            assert step.assumed == bool(open_)
            assert not set(open_) & set(given)


def test_every_reason_and_conflict_names_a_rule_that_fired_and_none_is_missing(advised: Advised) -> None:
    for answers, day, advice in advised:
        remarks = {name: said.text for name, said in BOOK.rules.remarks.items() if fires(said.when, answers, day)}
        assert {reason.rule: reason.text for reason in advice.reasons[len(advice.path) :]} == remarks, answers
        conflicts = {name: said.text for name, said in BOOK.rules.conflicts.items() if fires(said.when, answers, day)}
        assert {conflict.rule: conflict.text for conflict in advice.conflicts} == conflicts, answers


@pytest.mark.parametrize("name", BOOK.rules.remarks)
def test_every_remark_can_be_heard(name: str) -> None:
    said = BOOK.rules.remarks[name]
    found = [(search([(said.when, True)], {}, day), day) for day in (NOW, CLOSED)]
    heard = [advise(answers, today=day) for answers, day in found if answers is not None]
    assert heard
    assert all(name in {reason.rule for reason in advice.reasons} for advice in heard)


def test_next_rungs_are_possible_and_others(advised: Advised) -> None:
    for answers, day, advice in advised:
        assert advice.rung not in advice.next
        assert len(set(advice.next)) == len(advice.next)
        for rung in advice.next:
            assert fires(BOOK.texts.rungs[rung].possible, answers, day), (answers, rung)


@pytest.mark.parametrize(("gpu", "rung"), [(8, "rag+qlora"), (24, "rag+lora")])
def test_long_context_is_followed_by_the_adapter_that_the_gpu_can_train(gpu: float, rung: str) -> None:
    answers: Answers = {"gap": "knowledge", "corpus_tokens": 50_000, "changes_often": False, "gpu_gb": gpu}
    assert advise(answers, today=NOW).next == ("rag", rung)


def test_unsure_counts_as_open_and_the_order_of_answers_does_not_matter(advised: Advised) -> None:
    for answers, day, advice in advised[:60]:
        assert advise(settled(answers), today=day) == advice
        assert advise(dict(reversed(answers.items())), today=day) == advice


def test_texts_of_every_rung_can_be_said() -> None:
    rng = random.Random(3)
    for answers in [{}, *(draw(rng) for _ in range(100))]:
        assert examples_needed(answers) > 0
        for rung, part in itertools.product(BOOK.rungs, ("risks", "data", "steps")):
            said = texts_for(rung, part, answers)
            assert said, (rung, part, answers)
            assert not any("{" in text or "}" in text for _, text in said)


def test_examples_to_collect_follow_the_form() -> None:
    for kind in QUESTIONS["behavior_kind"].options:
        assert examples_needed({"behavior_kind": kind}) == BOOK.texts.examples_needed[kind]
    for answers in ({}, {"behavior_kind": UNSURE}):
        assert examples_needed(answers) == BOOK.texts.examples_needed["unknown"]


# What would change the answer


def stretch(flip: Flip) -> list[float]:
    """Points of the stretch of numbers that a flip states in words: its ends and its middle."""
    question = QUESTIONS[flip.key]
    words = flip.text.removeprefix(f"{question.short}: ").removesuffix(f" {question.unit}")
    low, high = 0.0, math.nextafter(question.most, math.inf)
    numbers = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", words)]
    if words.startswith("below"):
        (high,) = numbers
    elif words.startswith("at least"):
        (low,) = numbers
    else:
        low, high = numbers
    last = high - 1 if 1 < high < question.most else math.nextafter(high, 0)
    return [low, (low + last) / 2, max(low, last)]


def test_every_flip_flips_and_a_number_does_so_all_along_the_stretch_it_states(advised: Advised) -> None:
    for answers, day, advice in advised:
        for flip in advice.flips:
            assert flip.rung != advice.rung
            assert flip.text.startswith(f"{QUESTIONS[flip.key].short}: ")
            for value in (flip.value, *(stretch(flip) if flip.key in NUMBERS else ())):
                assert rung_of({**answers, flip.key: value}, day) == flip.rung, (answers, day, flip, value)


def test_no_single_change_that_leads_elsewhere_is_missing_from_the_flips(advised: Advised) -> None:
    """Of several answers to one question that lead to the same rung, one is told."""
    for answers, day, advice in advised[::2]:
        elsewhere = {(key, rung_of({**answers, key: value}, day)) for key in VALUES for value in VALUES[key]}
        told = {(flip.key, flip.rung) for flip in advice.flips}
        assert len(told) == len(advice.flips)
        assert {(key, rung) for key, rung in elsewhere if rung != advice.rung} <= told, (answers, day)


def test_a_number_that_flips_is_the_nearest_that_does(advised: Advised) -> None:
    for answers, day, advice in (*advised, *_volumes(random.Random(5), 100)):
        for flip in advice.flips:
            given, value = answers.get(flip.key), flip.value
            # Seconds are not counted in whole numbers, so that none is the nearest below a limit.
            if flip.key not in NUMBERS or flip.key == "latency_s" or given in (None, UNSURE):
                continue
            assert isinstance(given, float) and isinstance(value, (int, float))
            nearer = value + math.copysign(1, given - value)
            assert rung_of({**answers, flip.key: nearer}, day) != flip.rung, (answers, day, flip)


def test_a_stretch_that_flips_is_stated_as_wide_as_it_is(advised: Advised) -> None:
    """Thresholds that do not matter for these answers do not cut it short."""
    for answers, day, advice in (*advised, *_volumes(random.Random(5), 100)):
        for flip in advice.flips:
            if flip.key not in NUMBERS:
                continue
            low, _, last = stretch(flip)
            outside = [low - 1] if low > 0 else []
            outside += [last + 1] if last + 1 < QUESTIONS[flip.key].most else []
            found = {rung_of({**answers, flip.key: value}, day) for value in outside}
            assert flip.rung not in found, (answers, day, flip)


def test_flips_hold_for_volumes_that_are_no_whole_numbers() -> None:
    """A volume told by the week or month is a fraction a day, and products with it are compared all the same."""
    for answers, day, advice in _volumes(random.Random(4), 200):
        for key in ("prompt_tokens", "requests_per_day", "corpus_tokens"):
            told = {flip.rung for flip in advice.flips if flip.key == key}
            elsewhere = {rung_of({**answers, key: value}, day) for value in VALUES[key]} - {advice.rung}
            assert elsewhere <= told, (answers, key)


def _volumes(rng: random.Random, count: int) -> Advised:
    """Advice for people whose volume decides, told by the week or month, and all of whose answers are given."""
    people = [draw(rng, least=1) for _ in range(count)]
    for answers in people:
        answers |= {"prompt_tried": "some", "gap": "both", "behavior_changes_often": False, "latency_s": 3.0}
        answers |= {"changes_often": False, "needs_citations": False, "examples": 100.0}
        answers["requests_per_day"] = 10 ** rng.uniform(2, 7) // 1 / rng.choice((7, 30))
        answers["corpus_tokens"] = float(rng.randrange(1_000, 200_000))
        answers["prompt_tokens"] = float(rng.randrange(100, 10_000))
    return [(answers, NOW, advise(answers, today=NOW)) for answers in people]


# Confidence


def test_confidence_and_trust_stay_within_0_and_1(advised: Advised) -> None:
    for answers, _, advice in advised:
        most = share("confidence_most") * share("confidence_conflict") ** len(advice.conflicts)
        assert 0 <= advice.confidence <= most <= 1, answers
        high, low = share("confidence_high"), share("confidence_low")
        word = "high" if advice.confidence >= high else "medium" if advice.confidence >= low else "low"
        assert advice.confidence_word == word
    for trust in (0.0, 0.5, 1.0):
        certain = advise({"changes_often": True}, today=NOW).confidence
        assert advise({"changes_often": True}, today=NOW, trust=trust).confidence == pytest.approx(certain * trust)


def test_nothing_left_open_means_all_the_confidence_that_conflicts_leave(advised: Advised) -> None:
    decided = 0
    for answers, _, advice in advised:
        if not any(step.assumed for step in advice.path):
            decided += 1
            full = share("confidence_most") * share("confidence_conflict") ** len(advice.conflicts)
            assert advice.confidence == pytest.approx(full), answers
    assert decided > 100


def test_confidence_is_the_share_of_ways_to_answer_that_lead_to_the_same_place() -> None:
    """By hand: open are whether data may leave (likely, 0.85) and the budget (two buttons of four reach $100).

    An adapter of one's own is advised; it stays if the data may not leave, and with half of the budgets if they may:
    0.15 + 0.85 / 2. That the data may leave is what was presumed, and yet the confidence falls when it is said:
    the other answer would have settled the matter. It is the mean of the two that does not change.
    """
    answers: Answers = {
        "prompt_tried": "exhausted",
        "gap": "behavior",
        "behavior_changes_often": False,
        "changes_often": False,
        "private_documents": False,
        "needs_citations": False,
        "managed_access": "other",
        "gpu_gb": 80.0,
    }
    likely = share("confidence_likely")
    assert advise(answers, today=NOW).rung == "lora"
    assert advise(answers, today=NOW).confidence == pytest.approx((1 - likely) + likely / 2)
    assert advise({**answers, "data_may_leave": True}, today=NOW).confidence == pytest.approx(0.5)
    assert advise({**answers, "data_may_leave": False}, today=NOW).confidence == share("confidence_most")


def test_sampled_confidence_is_near_the_share_of_all_ways_to_answer() -> None:
    answers: Answers = {"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 50.0}
    advice = advise(answers, today=NOW)
    place = BOOK.texts.rungs[advice.rung].ladder
    asked = [QUESTIONS[key] for key in VALUES if key not in answers and key in _can_matter(answers)]
    same = total = 0.0
    for way in itertools.product(*(question.values() for question in asked)):
        weight = math.prod(_weight(question, value) for question, value in zip(asked, way, strict=True))
        given = {**answers, **{question.id: value for question, value in zip(asked, way, strict=True)}}
        total += weight
        same += weight * (BOOK.texts.rungs[walk(given, NOW)[1]].ladder == place)
    # Three standard errors of a share of 300.
    assert advice.confidence == pytest.approx(same / total, abs=3 * 0.5 / math.sqrt(300))


def _can_matter(answers: Answers) -> set[str]:
    return {question.id for question in open_questions(answers, NOW) if not question.ask}


def _weight(question: Question, value: Answer) -> float:
    if question.likely is None:
        return 1.0
    return share("confidence_likely") if value == question.likely else 1 - share("confidence_likely")


def share(name: str) -> float:
    value = BOOK.threshold(name)
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("name", BOOK.rules.conflicts)
def test_every_conflict_can_be_had_and_costs_confidence(name: str) -> None:
    """Compared with the nearest answers that go together: one answer taken back or changed.

    Not with all of them: a change may also leave more open than the conflict did.
    """
    answers = search([(BOOK.rules.conflicts[name].when, True)], {})
    assert answers is not None
    advice = advise(answers, today=NOW)
    assert name in {conflict.rule for conflict in advice.conflicts}
    near = [advise(other, today=NOW) for other in _one_answer_away(answers)]
    harmonious = [other.confidence for other in near if not other.conflicts]
    assert max(harmonious) > advice.confidence


@pytest.mark.parametrize("name", BOOK.rules.conflicts)
def test_where_nothing_is_open_every_way_out_of_a_conflict_raises_confidence(name: str) -> None:
    rng = random.Random(6)
    ways_out = 0
    for _ in range(5):
        decided = search([(BOOK.rules.conflicts[name].when, True)], {})
        assert decided is not None
        answers = {**{key: rng.choice(values) for key, values in VALUES.items()}, **decided}
        advice = advise(answers, today=NOW)
        for other in _one_answer_away(answers, open_too=False):
            resolved = advise(other, today=NOW)
            if {c.rule for c in resolved.conflicts} < {c.rule for c in advice.conflicts}:
                ways_out += 1
                assert resolved.confidence > advice.confidence, (answers, other)
    assert ways_out


def _one_answer_away(answers: Answers, open_too: bool = True) -> Iterator[Answers]:
    for key in answers:
        if open_too:
            yield {other: value for other, value in answers.items() if other != key}
        yield from ({**answers, key: value} for value in VALUES[key] if value != answers[key])


# What must never happen


def test_more_budget_or_more_change_never_leads_higher_unless_the_rule_says_why() -> None:
    rng = random.Random(7)
    climbs = 0
    for _ in range(5_000):
        answers, day = draw(rng), rng.choice((NOW, LAST_DAY, CLOSED))
        changes: list[tuple[str, list[Answer]]] = [
            ("budget_usd", sorted(rng.sample(VALUES["budget_usd"], 2), key=float)),
            ("changes_often", [False, True]),
            ("behavior_changes_often", [False, True]),
        ]
        for key, less_and_more in changes:
            before, after = (walk({**answers, key: value}, day) for value in less_and_more)
            if BOOK.rungs.index(after[1]) > BOOK.rungs.index(before[1]):
                climbs += 1
                new = [branch(*step) for step in after[0] if step not in before[0]]
                assert any(taken.less_flexible for taken in new), (answers, key, before, after)
    assert climbs > 100


def test_form_that_changes_often_is_never_trained() -> None:
    rng = random.Random(8)
    found = {rung_of({**draw(rng), "behavior_changes_often": True}, NOW) for _ in range(5_000)}
    assert found == {"prompt", "long-context", "rag"}


def test_changing_facts_are_always_looked_up() -> None:
    rng = random.Random(9)
    found = {rung_of({**draw(rng), "changes_often": True}, NOW) for _ in range(5_000)}
    assert all(rung.startswith("rag") for rung in found)


def test_data_that_may_not_leave_never_goes_to_a_service() -> None:
    rng = random.Random(10)
    for _ in range(5_000):
        assert rung_of({**draw(rng), "data_may_leave": False}, NOW) not in MANAGED
    for _ in range(500):
        advice = advise({**draw(rng, least=0.7), "data_may_leave": False}, today=NOW)
        assert not MANAGED & set(advice.next)
        # Only the answer itself could open that way.
        assert all(flip.key == "data_may_leave" for flip in advice.flips if flip.rung in MANAGED)


# The day on which a service closes

TRAINED: Answers = {"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 5_000}
ACCESS: dict[str, Answers] = {"open": {}, "unsure": {"managed_access": UNSURE}, "openai": {"managed_access": "openai"}}


@pytest.mark.parametrize("access", ACCESS)
def test_openai_alone_turns_managed_into_an_adapter_of_ones_own_on_the_day_it_closes(access: str) -> None:
    answers = {**TRAINED, **ACCESS[access]}
    assert [rung_of(answers, day) for day in (LAST_DAY, CLOSED)] == ["managed", "lora"]


@pytest.mark.parametrize("access", ACCESS)
def test_whoever_may_mean_openai_hears_that_it_closes_and_has_closed(access: str) -> None:
    answers = {**TRAINED, **ACCESS[access]}
    for day, said, unsaid in ((LAST_DAY, "openai_closes", "openai_closed"), (CLOSED, "openai_closed", "openai_closes")):
        rules = {reason.rule for reason in advise(answers, today=day).reasons}
        assert said in rules
        assert unsaid not in rules


def test_another_provider_stays_open_and_openai_is_not_spoken_of() -> None:
    answers: Answers = {**TRAINED, "managed_access": "other"}
    for day in (LAST_DAY, CLOSED):
        advice = advise(answers, today=day)
        assert advice.rung == "managed"
        assert not {"openai_closes", "openai_closed"} & {reason.rule for reason in advice.reasons}


# The questions


def test_no_question_is_put_that_was_answered_even_with_not_sure(advised: Advised) -> None:
    for answers, day, _ in advised:
        asked = [question.id for question in open_questions(answers, day)]
        assert not set(asked) & set(answers)
        assert asked == [key for key in QUESTIONS if key in asked], "not in the file's order"


def test_a_question_that_is_not_put_changes_nothing(advised: Advised) -> None:
    for answers, day, advice in advised:
        asked = {question.id for question in open_questions(answers, day)}
        for key in VALUES.keys() - asked - answers.keys():
            assert {rung_of({**answers, key: value}, day) for value in VALUES[key]} == {advice.rung}, (answers, key)


@pytest.mark.parametrize("unsure", [0.0, 0.1, 1.0])
def test_at_the_end_of_the_questions_nothing_left_out_can_change_the_rung(unsure: float) -> None:
    rng = random.Random(11)
    for _ in range(300 if unsure < 1 else 1):
        answers = _interview(rng, unsure)
        rung = rung_of(answers, NOW)
        left = [key for key in QUESTIONS if key not in answers]
        for _ in range(40):
            more = {key: rng.choice(VALUES[key]) for key in left if rng.random() < 0.7}
            assert rung_of({**answers, **more}, NOW) == rung, (answers, more)


def test_everybody_reaches_the_end_of_the_questions_and_most_people_soon() -> None:
    rng = random.Random(12)
    counts = sorted(len(_interview(rng, unsure=0.1)) for _ in range(1_000))
    print(f"{statistics.median(counts):g} questions at the median, {counts[-1]} at most")
    assert statistics.median(counts) <= 8
    assert counts[-1] <= len(QUESTIONS)


def test_nobody_is_asked_more_than_the_16_questions_there_are() -> None:
    """Not even whoever always gives the answer that leaves the most questions open."""
    answers: Answers = {}
    while asked := open_questions(answers, NOW):
        key = asked[0].id
        answers[key] = max(VALUES[key], key=lambda value: len(open_questions({**answers, key: value}, NOW)))
    assert len(answers) <= len(QUESTIONS) == 16, answers


def _interview(rng: random.Random, unsure: float) -> Answers:
    """The answers of a person who is asked question by question until there is none left."""
    answers: Answers = {}
    while asked := open_questions(answers, NOW):
        question = asked[0]
        answers[question.id] = UNSURE if rng.random() < unsure else rng.choice(VALUES[question.id])
    return answers
