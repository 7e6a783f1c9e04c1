"""The judge model's results as they are drawn, with replies that nobody can read and replies that turn."""

from __future__ import annotations

from core.data.dataset import examples_of
from core.evaluate.judge.pairwise import identity_of
from core.evaluate.plan import JudgePlan, Plan
from core.evaluate.report import build_report, store_report
from core.store.database import session
from core.store.tables import Experiment, Judgement
from pages.widgets.result import EVIDENCE
from tests.factories import sorting_dataset
from tests.pages.looking import Open, texts
from tests.pages.test_results import measured


def test_a_judge_is_shown_with_its_ties_and_doubts(open_page: Open) -> None:
    dataset = sorting_dataset(test=20)
    number = measured(dataset.id, ["base", "prompt"], lambda rung, i, right: right if rung == "prompt" else "wrong")
    judge = JudgePlan(model="remote/judge", examples=20)
    with session() as db:
        experiment = db.get_one(Experiment, number)
        experiment.spec = Plan.model_validate({**experiment.spec, "judge": judge}).model_dump(mode="json")
        for i, (example_id, _) in enumerate(examples_of(dataset.id, "test")):
            for swapped in (False, True):
                choice = "unreadable" if i == 0 else "a" if i < 3 and swapped else "b"
                db.add(
                    Judgement(
                        experiment_id=number,
                        example_id=example_id,
                        rung_a="base",
                        rung_b="prompt",
                        swapped=swapped,
                        judge=identity_of(judge),
                        choice=choice,
                        reason="<b>so</b>",
                        cost_usd=0.001,
                    )
                )
    store_report(number, build_report(number))
    app = open_page("compare", experiment=number)
    wanted = next(name for name in EVIDENCE if "udge" in name)
    app.segmented_control(key="evidence").set_value(wanted).run()
    assert not app.exception
    said = texts(app)
    assert "was shown 20 examples in both orders" in said and "Judging cost $0.0400" in said
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Unreadable replies"].startswith("5")
