"""Search spaces and what is made of them: no Ray."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fusion.methods import Dfmf, Zskt
from orchestrator.errors import UserError
from orchestrator.loading import parse_config
from orchestrator.sweep.paths import absolute
from orchestrator.sweep.points import drawn, known_points, of_config, point_of
from orchestrator.sweep.space import Space, check_space, load_space, spaces, with_values
from orchestrator.sweep.study import Study, share_out, to_json, trial_name
from orchestrator.sweep.tuning import left_of
from orchestrator.sweep.wishes import Wishes, check_cases, check_wishes, prepared, wishes
from tests.tiny import tiny_run

BASE = parse_config(tiny_run(), "base")


def study(space: str = "m_ga", **changes: object) -> Study:
    loaded = load_space(space)
    chosen: dict[str, object] = {
        "folder": Path("/sweep"),
        "space_name": space,
        "space": loaded,
        "base": prepared(BASE),
        "seeds": loaded.seed_list(7),
        "search": "grid",
        "scheduler": "none",
        "samples": 0,
        "concurrent": 2,
        "plan": None,
        "gpus": 0.0,
        "parent": None,
    }
    return Study(**(chosen | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", spaces())
def test_every_space_that_comes_along_fits_the_configuration(name: str) -> None:
    check_space(load_space(name), prepared(BASE), name)


def test_the_four_parameters_of_the_paper_have_a_space_each() -> None:
    assert spaces() == ["all", "alpha", "beta", "m_ga", "tau"]
    assert load_space("m_ga").parameters["schedule.m_ga"].grid == (1, 2, 5, 10)
    assert list(load_space("all").parameters) == [
        "schedule.m_ga",
        "method.alpha",
        "method.beta",
        "method.tau",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parameters: {}", "parameters: dictionary should have at least 1 item"),
        (
            "parameters: {method.tau: {grid: []}}",
            "parameters.method.tau.grid: tuple should have at least 1 item",
        ),
        ("parameters: {method.tau: {grid: [1, 1]}}", "parameters.method.tau: grid: holds a value twice"),
        ("parameters: {method.tau: {grid: [1], range: [3, 1]}}", "range: must rise (got [3.0, 1.0])"),
        (
            "parameters: {method.tau: {grid: [1], range: [0, 1], scale: log}}",
            "must be above 0 on a log scale",
        ),
        (
            "parameters: {method.tau: {grid: [1, 3, 10], range: [0.5, 20.0], scale: log}}",
            "parameters.method.tau: range: must end in whole numbers as the grid has them",
        ),
        ("parameters: {method.tau: {gird: [1]}}", "parameters.method.tau.gird: unknown key"),
        ("parameters: {method.tau: {grid: [1]}}\nseeds: 0", "seeds"),
        ("seeds: 1", "parameters: name at least one, or cases"),
        (
            "parameters: {method.tau: {grid: [1]}}\ncases: {a: {method.tau: 2}}",
            "cases.a.method.tau: stands among the parameters too",
        ),
        ("[1, 2]", "space"),
        ("parameters: {method.tau: {grid: [1]}", "space"),
    ],
)
def test_a_space_that_makes_no_sense_is_said(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_space(str(tmp_path / "study.yaml"))
    assert expected in str(caught.value)
    assert "study.yaml" in str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("{schedule.m_gaa: {grid: [1]}}", "schedule.m_gaa: unknown key; did you mean 'm_ga'?"),
        ("{schdule.m_ga: {grid: [1]}}", "the configuration has no such key"),
        ("{schedule.m_ga: {grid: [0]}}", "schedule.m_ga: must be at least 1 (got 0)"),
        ("{schedule.m_ga: {grid: [1.5]}}", "schedule.m_ga"),
        ("{method.tau: {grid: [1.0], range: [-1, 1]}}", "method.tau=-1.0: method.tau: must be above 0"),
        ("{engine.threads: {grid: [1]}}", "is not for a sweep to vary"),
        ("{seed: {grid: [1]}}", "(seeds: says which seeds)"),
    ],
)
def test_a_space_that_the_configuration_does_not_take_is_said(
    tmp_path: Path, parameters: str, expected: str
) -> None:
    (tmp_path / "study.yaml").write_text(f"parameters: {parameters}")
    with pytest.raises(UserError) as caught:
        check_space(load_space(str(tmp_path / "study.yaml")), prepared(BASE), "study")
    assert expected in str(caught.value)


def test_an_unknown_space_names_those_that_there_are() -> None:
    with pytest.raises(
        UserError, match=r"no space .nix. .known: all, alpha, beta, m_ga, tau; or a YAML file."
    ):
        load_space("nix")


def test_a_grid_runs_every_point_with_every_seed() -> None:
    points = known_points(study())
    assert len(points) == 4 * 3
    assert [(one.parameters["schedule.m_ga"], one.seed) for one in points[:4]] == [
        (1, 7),
        (1, 8),
        (1, 9),
        (2, 7),
    ]
    assert len({one.name for one in points}) == len(points)
    assert points[0].name == "M_GA-1_seed-7"


def test_random_draws_are_the_same_again_and_keep_to_the_ranges() -> None:
    space = load_space("all")
    first = drawn(space, 50, seed=3)
    assert first == drawn(space, 50, seed=3) != drawn(space, 50, seed=4)
    for values in first:
        assert type(values["schedule.m_ga"]) is int
        for key, value in values.items():
            low, high = space.parameters[key].range or (0, 0)
            assert low <= float(value) <= high
            assert with_values(prepared(BASE), {key: value}, "drawn")
    assert {values["schedule.m_ga"] for values in first} >= {1, 2, 3}


def test_what_tune_gives_back_is_the_point_that_it_was_given() -> None:
    points = known_points(study("all", search="random", samples=5))
    names = [one.name for one in points]
    for index, point in enumerate(points):
        config = {"point": point._asdict(), "names": names}
        assert of_config(study("all"), config, f"ab12c_{index:05d}") == point


def test_a_population_stays_in_the_ranges() -> None:
    members = study("all", scheduler="pbt", search="random", samples=2)
    first = known_points(members)[0]
    assert first.name == "member-0"
    grown = first._replace(parameters={**first.parameters, "schedule.m_ga": 23.9, "method.alpha": 99.0})
    config = {"point": grown._asdict(), "names": ["member-0", "member-1"]}
    taken_over = of_config(members, config, "ab12c_00001")
    assert taken_over.parameters == {**first.parameters, "schedule.m_ga": 20, "method.alpha": 3.0}
    assert taken_over.name == "member-1"


def test_a_trial_is_the_base_with_the_values_of_its_point() -> None:
    one = study().config({"schedule.m_ga": 10}, 8, "M_GA-10_seed-8")
    assert (one.schedule.m_ga, one.seed, one.name, one.output) == (10, 8, "M_GA-10_seed-8", "/sweep/trials")
    assert one.schedule.epochs == BASE.schedule.epochs


def test_names_are_files_names_and_tell_points_apart() -> None:
    space = load_space("alpha")
    names = {trial_name(space, {"method.alpha": value}, 0) for value in (0.1, 0.03, 1.0, 1e-05)}
    assert names == {"alpha-0.1_seed-0", "alpha-0.03_seed-0", "alpha-1_seed-0", "alpha-1e-05_seed-0"}


def test_all_paths_of_a_trial_start_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = tiny_run(teachers=["a.safetensors"], data={"source": "folder", "root": "images"}, output="out")
    whole = absolute(parse_config(tree, "run"))
    assert whole.teachers is not None
    assert whole.data is not None
    assert whole.teachers[0].source == str(tmp_path / "a.safetensors")
    assert (whole.data.root, whole.output) == (str(tmp_path / "images"), str(tmp_path / "out"))
    assert whole.tracking.uri == f"sqlite:///{tmp_path}/out/mlflow.db"
    assert absolute(whole) == whole
    told = tiny_run(
        teachers=[{"path": "a.pt", "classes": "names.txt"}, {"path": "b.pt", "classes": ["x", "y"]}]
    )
    given = absolute(parse_config(told, "run")).teachers or ()
    assert [one.classes for one in given] == [str(tmp_path / "names.txt"), ("x", "y")]
    nayer = {"name": "nayer", "embeddings": "names.npy"}
    other = absolute(parse_config(tiny_run(method=nayer, schedule={"warmup_epochs": 0}), "run"))
    assert other.method.embeddings == str(tmp_path / "names.npy")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mode", "concurrent", "cpus", "gpus", "expected"),
    [
        ("local", None, 2, 0, (2, None, 0.0)),
        ("local", 1, 2, 0, (1, None, 0.0)),
        ("local", None, 8, 2, (2, None, 1.0)),
        ("local", None, 8, 1, (1, None, 1.0)),
        ("local", None, 2, 8, (2, None, 1.0)),
        ("local", 8, 8, 2, (8, None, 0.25)),
        ("ray", None, 2, 0, (1, [0.5, 0.5, 0.5], 0.0)),
        ("ray", 2, 2, 0, (2, [0.5, 0.5], 0.0)),
        ("ray", 4, 2, 0, (4, [0.25, 0.25], 0.0)),
        ("ray", None, 12, 0, (4, [1.0, 1.0, 1.0], 0.0)),
        ("ray", None, 16, 2, (2, [1.0, 1.0], 0.0)),  # A GPU each: half for the student, half for the parties.
    ],
)
def test_trials_share_the_cluster(
    mode: str,
    concurrent: int | None,
    cpus: float,
    gpus: float,
    expected: tuple[int, list[float] | None, float],
) -> None:
    config = parse_config(tiny_run(engine={"mode": mode}), "run")
    count, plan, share = share_out(config, concurrent, cpus, gpus, trials=12)
    assert (count, [one.cpus for one in plan.shares] if plan else None, share) == expected
    if plan is not None:
        assert count * plan.cpus <= cpus
        assert count * plan.gpus <= gpus


def test_more_at_once_than_fit_is_refused() -> None:
    config = parse_config(tiny_run(engine={"mode": "ray"}), "run")
    with pytest.raises(
        UserError, match="--concurrent 9: the cluster has 2 CPUs and 0 GPUs, at most 4 trials"
    ):
        share_out(config, 9, 2, 0, trials=12)


def test_two_trials_share_a_gpu() -> None:
    config = parse_config(tiny_run(engine={"mode": "ray"}), "run")
    count, plan, _ = share_out(config, 4, 16, 2, trials=12)
    assert plan is not None
    assert count == 4
    assert plan.gpus == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("wish", "changes", "expected"),
    [
        ({"search": "random"}, {}, "--search random: needs --samples N"),
        ({"samples": 3}, {}, "--search grid: a grid runs all its points"),
        ({"scheduler": "pbt", "seeds": 2}, {}, "--scheduler pbt: --seeds must be 1"),
        ({"scheduler": "asha", "search": "optuna", "samples": 3}, {}, "not with --search optuna"),
        ({}, {"engine": {"student_workers": 2}}, "engine.student_workers: must be 1 in a sweep"),
        ({}, {"checkpoint": {"to": "s3://bucket/x"}}, "checkpoint.to: must be empty in a sweep"),
    ],
)
def test_wishes_that_do_not_fit_together_are_refused(
    wish: dict[str, object], changes: dict[str, object], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        check_wishes(Wishes(space="m_ga", **wish), parse_config(tiny_run(**changes), "run"))  # type: ignore[arg-type]


def test_a_scheduler_needs_something_to_compare() -> None:
    config = parse_config(tiny_run(data=None, pretrain=None, teachers=["a.safetensors"]), "run")
    with pytest.raises(UserError, match="--scheduler asha: compares accuracies, and there is no 'data'"):
        check_wishes(Wishes(space="m_ga", scheduler="asha"), config)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UserError, match="--scheduler foo: must be one of none, asha, pbt"):
        wishes("m_ga", "grid", "foo", None, None, None)


def test_names_that_had_to_be_cut_still_tell_points_apart() -> None:
    space = load_space("all")
    keys = list(space.parameters)
    one = trial_name(space, dict(zip(keys, (5, 0.1234567, 1.0, 3.0), strict=True)), 0)
    other = trial_name(space, dict(zip(keys, (5, 0.1234568, 1.0, 3.0), strict=True)), 0)
    assert one != other
    labels = {
        key: parameter.model_copy(update={"label": "a" * 30}) for key, parameter in space.parameters.items()
    }
    long = space.model_copy(update={"parameters": labels})
    names = {trial_name(long, dict(zip(keys, (5, 0.1, 1.0, tau), strict=True)), 0) for tau in (1.0, 3.0)}
    assert len(names) == 2
    assert max(map(len, names)) <= 64


CASES = """
parameters: {schedule.m_s: {grid: [1, 2]}}
cases:
  dfmf: {method.name: dfmf, method.alpha: 0.3}
  zskt: {method.name: zskt, schedule.warmup_epochs: 0}
seeds: 1
"""


def test_cases_are_values_that_go_together(tmp_path: Path) -> None:
    (tmp_path / "methods.yaml").write_text(CASES)
    space = load_space(str(tmp_path / "methods.yaml"))
    base = prepared(parse_config(tiny_run(method={"alpha": 0.2, "tau": 2.0}), "base"))
    check_space(space, base, "methods")
    of_methods = study(space=str(tmp_path / "methods.yaml"), base=base)
    assert Space.model_validate_json(json.dumps(to_json(of_methods)["definition"])) == space
    only = Space(cases=space.cases)
    known = to_json(dataclasses.replace(of_methods, space=only))["definition"]
    assert Space.model_validate_json(json.dumps(known)) == only
    points = known_points(of_methods)
    given_back = {"point": points[2]._asdict(), "names": [one.name for one in points]}
    assert of_config(of_methods, given_back, "ab12c_00002") == points[2]
    assert [one.name for one in points] == [
        *("dfmf_m_s-1_seed-7", "dfmf_m_s-2_seed-7", "zskt_m_s-1_seed-7", "zskt_m_s-2_seed-7"),
    ]
    dfmf, zskt = (with_values(base, points[index].parameters, "point").method for index in (0, 2))
    assert isinstance(dfmf, Dfmf)
    assert isinstance(zskt, Zskt)  # Which has no alpha.
    assert (dfmf.alpha, dfmf.tau, zskt.tau) == (0.3, 2.0, 2.0)


def test_a_case_may_set_a_list_or_nothing() -> None:
    common = {"method.name": "transfer_set", "schedule.warmup_epochs": 0}
    cases = {
        "some": {**common, "method.sources": ["data", "noise"], "method.classes": 4},
        "all": {**common, "method.sources": ["noise", "data"], "method.classes": None},
    }
    space = Space(cases=cases, seeds=1)
    check_space(space, prepared(BASE), "sets")
    again = Space.model_validate_json(
        json.dumps(to_json(dataclasses.replace(study(), space=space))["definition"])
    )
    assert again == space
    points = known_points(dataclasses.replace(study(seeds=[7]), space=again))
    assert [one.name for one in points] == ["some_seed-7", "all_seed-7"]
    methods = [with_values(prepared(BASE), one.parameters, "point").method for one in points]
    assert [(one.sources, one.classes) for one in methods] == [  # type: ignore[union-attr]
        (("data", "noise"), 4),
        (("noise", "data"), None),
    ]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"method.name": "zskt"}, "cases.a: schedule.warmup_epochs: must be 0 for method 'zskt'"),
        ({"method.name": "gan"}, "method.name: unknown method 'gan'"),
        ({"engine.threads": 2}, "cases.a.engine.threads: is not for a sweep to vary"),
        (
            {"method.name": "zskt", "schedule.warmup_epochs": 0, "method.alpha": 1.0},
            "method.alpha: unknown key .known.* of method 'zskt'",
        ),
    ],
)
def test_a_case_that_the_configuration_does_not_take_is_said(case: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_space(Space(cases={"a": case}), prepared(BASE), "methods")


@pytest.mark.parametrize("wish", [{"search": "random", "samples": 2}, {"scheduler": "pbt"}])
def test_cases_are_neither_drawn_nor_changed(wish: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="has cases, which are run as they are"):
        check_cases(Wishes(space="methods", **wish), Space(cases={"a": {"method.alpha": 1.0}}))


def test_all_seeds_of_a_point_that_optuna_chose_are_gone_on_with() -> None:
    chosen = study("alpha", search="optuna", samples=2)
    done, begun = ({"method.alpha": value} for value in (0.25, 0.5))
    trials = [point_of(chosen, done, seed) for seed in chosen.seeds]
    rows: list[Any] = [{**one._asdict(), "status": "finished"} for one in trials]
    rows.append({**point_of(chosen, begun, chosen.seeds[0])._asdict(), "status": "running"})
    assert left_of(chosen, rows) == [point_of(chosen, begun, seed) for seed in chosen.seeds]
    assert left_of(dataclasses.replace(chosen, search="grid"), rows) == [
        point_of(chosen, begun, chosen.seeds[0])
    ]
