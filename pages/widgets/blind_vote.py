"""Choosing between two rungs' answers without knowing whose they are, and what the choices of all add up to.

Nothing on the ballot tells a rung: no name, score, colour or time. What was found is shown once a voter has finished,
since whoever knows the state of a vote votes with it.
"""

from __future__ import annotations

import streamlit as st

from core.evaluate.ballots import Ballot, Side, cast, next_pair, pairs_of, undo, voter_name
from core.evaluate.judge.preferences import KAPPA, Agreement
from core.evaluate.votes import PairRate, VoteResults, results, rows, voters
from core.store.tables import Experiment
from pages.widgets.errors import guard, plain
from pages.widgets.tables import csv_button, table
from pages.widgets.turns import heading, show_text, text_of
from pages.widgets.words import many, percent, span

Pair = tuple[str, str]
# Longer texts scroll within a frame of this many pixels, so that both answers and the buttons stay in sight.
TALL, LONG_TEXT = 360, 1_200


def blind_vote(experiment: Experiment) -> None:
    """The voting booth of an experiment; a vote draws this part of the page again and nothing else."""
    st.fragment(_booth)(experiment)


def vote_results(experiment: Experiment) -> None:
    """What all votes say so far, with everything about how sure that is."""
    found = results(experiment.id)
    if not found.pairs:
        st.info("Nobody has voted yet.", icon=":material/how_to_vote:")
        return
    for pair in found.pairs:
        st.markdown(_sentence(pair))
    table(
        [_row(pair) for pair in found.pairs],
        "How often people prefer each rung's answers, pair by pair",
        column_config={"preferred, %": st.column_config.NumberColumn(format="%.1f")},
    )
    st.caption(
        "Preferred: the share of all test examples, ties counted half, with its 95 % interval; even is 50 %. Examples "
        "on which both rungs say the same are ties that nobody had to vote on."
    )
    if len(found.pairs) > 1:
        _by_rung(found)
    _agreement(found)
    csv_button(list(rows(experiment.id)), f"votes-{experiment.id}.csv", "All votes (CSV)", f"votes_csv_{experiment.id}")


def _booth(experiment: Experiment) -> None:
    with guard():
        pairs = pairs_of(experiment.id)
        if not pairs:
            st.info("A blind vote needs two rungs, and this comparison has one.", icon=":material/how_to_vote:")
            return
        voter, chosen = _before(experiment, pairs)
        if voter is None:
            st.markdown(
                "You read two answers to the same question, without knowing which rung gave which, and say which is "
                "better. Ten minutes of this tell you what no metric can: whether people notice the difference."
            )
        elif not chosen:
            st.info("Choose at least one pair of rungs.", icon=":material/how_to_vote:")
        else:
            _vote(experiment, voter, chosen)


def _before(experiment: Experiment, pairs: list[Pair]) -> tuple[str | None, list[Pair]]:
    """Who votes, and on which pairs."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        voter = _name(experiment)
    with right:
        names = {f"{a} · {b}": (a, b) for a, b in pairs}
        chosen = st.multiselect(
            "Between",
            list(names),
            default=list(names)[:1],
            key=f"vote_pairs_{experiment.id}",
            help="First the rung of the verdict and the best of the others. Several pairs are shown mixed.",
            persist_state="session",
        )
    return voter, [names[name] for name in chosen]


def _name(experiment: Experiment) -> str | None:
    """Asks for it once. Then it is told and not asked: in a field that has the cursor, keys would type and not vote."""
    if voter := st.session_state.get("vote_voter"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"Voting as **{plain(voter)}**", width="content")
            st.button(
                "Someone else", key="vote_change", on_click=st.session_state.pop, args=("vote_voter",), type="tertiary"
            )
        return str(voter)

    def keep() -> None:
        with guard():
            st.session_state["vote_voter"] = voter_name(st.session_state["vote_name"] or "")

    st.selectbox(
        "Your name",
        list(voters(experiment.id)),
        index=None,
        key="vote_name",
        on_change=keep,
        accept_new_options=True,
        placeholder="Type a name or initials",
        help="Everyone votes under a name of their own; a name from before goes on where it stopped.",
    )
    return None


def _vote(experiment: Experiment, voter: str, pairs: list[Pair]) -> None:
    finished, skipped = f"vote_finished_{experiment.id}_{voter}", f"vote_skipped_{experiment.id}_{voter}"
    passed: list[tuple[int, Pair]] = st.session_state.setdefault(skipped, [])
    ballot = next_pair(experiment.id, voter, pairs, passed)
    if ballot is None or st.session_state.get(finished):
        _after(experiment, voter, finished, more=ballot is not None)
        return
    same = f" · {ballot.same} more need no vote: both answers are the same" if ballot.same else ""
    st.progress(ballot.done / ballot.total, f"{ballot.done} of {ballot.total} decided{same}")
    _question(ballot)
    for column, name, text in zip(st.columns(2), "AB", (ballot.left, ballot.right), strict=True):
        with column.container(border=True, height=TALL if len(text) > LONG_TEXT else "stretch"):
            st.markdown(f"**Answer {name}**")
            if text.strip():
                show_text(text)
            else:
                st.caption("The answer is empty.")
    # Keys of this ballot alone: a key pressed twice is no vote on a ballot that nobody has seen yet.
    key = f"{ballot.example_id}_{'_'.join(ballot.pair)}"

    def choose(side: Side) -> None:
        with guard():
            cast(ballot, voter, side)

    def take_back() -> None:
        with guard():
            undo(experiment.id, voter)

    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button("A is better", key=f"vote_a_{key}", shortcut="A", on_click=choose, args=("left",), type="primary")
        st.button("Equally good", key=f"vote_tie_{key}", shortcut="E", on_click=choose, args=("tie",))
        st.button("B is better", key=f"vote_b_{key}", shortcut="B", on_click=choose, args=("right",), type="primary")
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button(
            "Skip",
            key=f"vote_skip_{key}",
            shortcut="S",
            on_click=passed.append,
            args=((ballot.example_id, ballot.pair),),
            help="It comes again at the end.",
            type="tertiary",
        )
        st.button(
            "Undo",
            # The same on every ballot: taking back means the last vote, whatever is on the screen by then.
            key=f"vote_undo_{experiment.id}",
            shortcut="U",
            on_click=take_back,
            disabled=not voters(experiment.id).get(voter),
            type="tertiary",
        )
        st.button(
            "Finish and see results",
            key=f"vote_finish_{experiment.id}",
            on_click=st.session_state.update,
            args=({finished: True},),
            disabled=not ballot.done,
            help="Shows which rung gave which answer; best when you have voted enough.",
            type="tertiary",
        )


def _question(ballot: Ballot) -> None:
    long = sum(len(text_of(turn)) for turn in ballot.messages) > LONG_TEXT
    with st.container(border=True, height=TALL if long else "content"):
        for turn in ballot.messages:
            st.caption(heading(turn["role"]))
            show_text(text_of(turn))
    if ballot.reference:
        with st.expander("Expected answer", icon=":material/flag:"):
            show_text(ballot.reference)


def _after(experiment: Experiment, voter: str, finished: str, *, more: bool) -> None:
    """The curtain lifted: results, and the voter's own choices with their rungs."""
    said = "Thank you." if more else "Thank you: every pair of answers has your vote."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(said)
        if more:
            st.button(
                "Go on voting",
                icon=":material/how_to_vote:",
                key=f"vote_more_{experiment.id}",
                on_click=st.session_state.update,
                args=({finished: False},),
            )
    vote_results(experiment)
    own = [row for row in rows(experiment.id) if row["voter"] == voter]
    if own:
        with st.expander(f"Your {many(len(own), 'vote')}, revealed", icon=":material/visibility:"):
            names = {"example": "example", "shown left": "A was", "shown right": "B was", "preferred": "you preferred"}
            table([{title: row[key] for key, title in names.items()} for row in own], "Your votes with their rungs")


def _sentence(pair: PairRate) -> str:
    a, b = plain(pair.a), plain(pair.b)
    share, ends = percent(pair.rate.rate), span([pair.rate.interval.low, pair.rate.interval.high])
    if pair.outcome == "better":
        return f"People prefer **{b}** to {a}: in {share} of the examples, plausibly {ends}."
    if pair.outcome == "worse":
        turned = span([1 - pair.rate.interval.high, 1 - pair.rate.interval.low])
        return f"People prefer **{a}** to {b}: in {percent(1 - pair.rate.rate)} of the examples, plausibly {turned}."
    return f"Between {a} and {b} the votes cannot tell yet: {b} is preferred in {share}, plausibly {ends}; even is 50."


def _row(pair: PairRate) -> dict[str, object]:
    return {
        "rung": pair.b,
        "against": pair.a,
        "preferred, %": round(100 * pair.rate.rate, 1),
        "95% interval": span([pair.rate.interval.low, pair.rate.interval.high]),
        "wins": pair.wins_b,
        "losses": pair.wins_a,
        "ties": pair.ties,
        "votes": pair.votes,
        "examples": pair.rate.n,
        "same answer": percent(pair.identical),
    }


def _by_rung(found: VoteResults) -> None:
    table(
        [
            {
                "rung": rung,
                "preferred, %": round(100 * rate.rate, 1),
                "95% interval": span([rate.interval.low, rate.interval.high]),
                "examples": rate.n,
            }
            for rung, rate in found.rungs.items()
        ],
        "How often each rung is preferred over whatever it stood against",
    )
    st.caption("Each rung over whatever it stood against, on the examples voted on.")


def _agreement(found: VoteResults) -> None:
    people = ", ".join(f"{plain(name)} {count}" for name, count in found.voters.items())
    st.markdown(f"**Voters**: {people}.")
    st.markdown(f"**Voters with each other**: {_told(found.between, 'two have to vote on the same examples')}.")
    st.markdown(f"**With the judge model**: {_told(found.judge, 'no judge decided the same examples')}.")
    with st.popover("What κ means", icon=":material/help:"):
        st.markdown(plain(KAPPA))
        st.markdown("A judge model that agrees with people no better than chance should not be asked.")


def _told(agreement: Agreement | None, none: str) -> str:
    return plain(agreement.text) if agreement else f"not known yet, {none}"
