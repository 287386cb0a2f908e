"""Choosing among tiny runs whose order is known, and what is refused."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from rich.console import Console
from safetensors.torch import save_file
from scipy.stats import rankdata
from typer.testing import CliRunner

from fusion.criteria import CRITERIA
from fusion.generator import DfqGenerator
from fusion.methods import Cmi, CmiGa, Dfmf, Dfq
from fusion.networks import ImageSpec
from fusion.seeding import seeded_initialisation
from fusion.teachers import Teacher, save_teacher
from orchestrator import choosing
from orchestrator.choosing import rank_runs
from orchestrator.choosing_report import runs_table
from orchestrator.cli import app
from orchestrator.errors import UserError
from orchestrator.finished_runs import read_run
from orchestrator.loading import dump_config, load_config, parse_config
from orchestrator.ranking import RANKABLE, Record, choose
from tests.tiny import SPEC, settings, teacher


def blend(share: float, first: Teacher, second: Teacher) -> Teacher:
    """A student on the way from one classifier to another."""
    weights = {
        name: tensor + share * (second.weights[name] - tensor) if tensor.is_floating_point() else tensor
        for name, tensor in first.weights.items()
    }
    return Teacher(name="student", network=first.network, spec=first.spec, weights=weights)


def make_run(
    folder: Path,
    student: Teacher,
    teachers: list[Path],
    *,
    seed: int = 0,
    alpha: float = 0.1,
    accuracy: float | None = None,
    **changes: Any,
) -> Path:
    """What a finished fusion leaves, with generators that have learned nothing."""
    paths = [{"path": str(path)} for path in teachers]
    tree = {"student": "resnet8-w8", "teachers": paths, "seed": seed, "method": {"alpha": alpha}}
    config = parse_config({**tree, "generator": {"latent_dim": 8, "width": 16}, **changes}, "test")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    save_teacher(student, folder / "student.safetensors")
    for index, path in enumerate(teachers):
        with seeded_initialisation(seed, folder.name, index):
            state = DfqGenerator(config.generator, SPEC).state_dict()
        party = folder / "parties" / path.stem
        party.mkdir(parents=True)
        save_file(state, party / "generator.safetensors")
    summary = {"status": "finished", "seed": seed, "student": {"accuracy": accuracy}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def save_pair(folder: Path, first: int) -> list[Path]:
    """Two parties with the same classifier, so that it is their ensemble too."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "party-0.safetensors", folder / "party-1.safetensors"]
    for path in paths:
        save_teacher(teacher(first, name=path.stem), path)
    return paths


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of three configurations: the student with alpha 0.2 is the teachers' own network, the others
    are further away. The accuracies say so too."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sweep")
    trials = []
    for seed in (0, 1):
        pair = save_pair(folder / f"teachers-{seed}", 10 * seed)
        right, wrong = teacher(10 * seed), teacher(10 * seed + 5)
        for alpha, share in ((0.1, 1.0), (0.2, 0.0), (0.3, 0.3)):
            name = f"trials/{alpha:g}-{seed}"
            make_run(
                folder / name,
                blend(share, right, wrong),
                pair,
                seed=seed,
                alpha=alpha,
                accuracy=90 - 50 * share + seed,
            )
            trials.append(
                {"folder": name, "status": "finished", "seed": seed, "parameters": {"alpha": alpha}}
            )
    trials.append({"folder": "trials/lost", "status": "failed", "seed": 0, "parameters": {"alpha": 0.4}})
    (folder / "sweep.json").write_text(json.dumps({"trials": trials}))
    return folder


@pytest.fixture
def copy(sweep: Path, tmp_path: Path) -> Iterator[Path]:
    """A sweep that a test may damage."""
    shutil.copytree(sweep, tmp_path / "sweep")
    return tmp_path / "sweep"


def dfmf_choose(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["choose", *map(str, arguments)], env={"COLUMNS": "160"})


def test_the_ensembles_own_copy_is_perfect_in_both_exams_and_is_chosen(sweep: Path) -> None:
    records = rank_runs([sweep])
    assert [one.configuration for one in records] == [
        "method.alpha=0.1",
        "method.alpha=0.2",
        "method.alpha=0.3",
    ] * 2
    assert [one.seed for one in records] == [0, 0, 0, 1, 1, 1]
    for one in records:
        assert set(one.criteria) == set(RANKABLE)
        perfect = one.configuration == "method.alpha=0.2"
        for exam in ("own", "common"):
            assert (one.criteria[f"{exam}/agreement"] == 100) == perfect
            assert (one.criteria[f"{exam}/divergence"] == pytest.approx(0, abs=1e-6)) == perfect
    assert choose(records, "common/divergence") == choose(records, "own/agreement") == "method.alpha=0.2"


def test_the_choice_does_not_see_accuracies(copy: Path) -> None:
    before = rank_runs([copy])
    for path in copy.glob("trials/*/summary.json"):
        summary = json.loads(path.read_text())
        del summary["student"]["accuracy"]
        path.write_text(json.dumps(summary))
    assert rank_runs([copy]) == before
    done = dfmf_choose(copy)
    assert (done.exit_code, "accuracy" in done.output) == (0, False), done.output


def test_the_command_with_its_numbers(sweep: Path, tmp_path: Path) -> None:
    done = dfmf_choose(sweep, "--by", "common/divergence", "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["by"], found["chosen"]) == ("common/divergence", "method.alpha=0.2")
    assert "chosen by common/divergence: method.alpha=0.2 (mean rank 0.00" in done.output
    rows = [line.split() for line in done.output.splitlines()]
    first, *_, accuracy = next(row for row in rows if row[:1] == ["0.2-0"])
    assert (first, accuracy) == ("0.2-0", "90.00")
    assert next(row for row in rows if row[:1] == ["0.1-1"])[1:4] == ["1", "alpha=0.1", "1.00"]
    assert ["common/divergence", "1.00", "1.00", "1.00", "0.00"] in rows
    judged = found["judgement"]
    assert (judged["runs"], judged["seeds"], judged["configurations"]) == (6, 2, 3)
    assert judged["criteria"]["common/divergence"]["regret"] == 0
    assert judged["best_accuracy"] == 90.5
    assert judged["regret_of_chance"] == pytest.approx(50 * 1.3 / 3)
    ranks = [one["rank"] for one in found["runs"] if one["seed"] == 0]
    assert ranks == list(
        (rankdata([one["criteria"]["common/divergence"] for one in found["runs"][:3]]) - 1) / 2
    )


def test_on_a_narrow_terminal_names_are_whole_and_the_accuracy_is_there() -> None:
    criteria = dict.fromkeys(RANKABLE, 71.234)
    runs = [
        Record(folder=Path(f"M_GA-{m_ga}_seed-0"), seed=0, configuration=f"m_ga={m_ga}", criteria=criteria)
        for m_ga in (5, 10)
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(runs_table(runs, "common/balanced_agreement", [80.12, 81.34]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    lines = shown.splitlines()
    rule = next(number for number, line in enumerate(lines) if "\N{BOX DRAWINGS LIGHT HORIZONTAL}" in line)
    run = slice(lines[rule - 1].index("run"), lines[rule - 1].index("seed"))
    names = "".join(line[run].strip() for line in lines[rule + 1 :])
    assert names == "M_GA-5_seed-0M_GA-10_seed-0"
    assert [line.split()[-1] for line in lines if "=" in line] == ["80.12", "81.34"]


def test_the_common_exam_has_an_equal_share_of_every_generator_and_nothing_but_that(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [read_run(sweep / "trials" / f"{alpha}-0") for alpha in (0.1, 0.2)]
    exams = []
    original = choosing.logits_of

    def listening(classifier: Any, images: torch.Tensor, device: torch.device) -> torch.Tensor:
        exams.append(images)
        return original(classifier, images, device)

    monkeypatch.setattr(choosing, "logits_of", listening)
    monkeypatch.setattr(choosing, "POOL_IMAGES", 42)
    choosing.examine(runs)
    made = [one for run in runs for one in run.images(run.teachers())]
    assert [len(one) for one in made] == [512] * 4
    assert torch.equal(exams[-1], torch.cat([one[:10] for one in made]))
    assert len({bytes(one[0].numpy()) for one in made}) == 4


def test_a_configuration_is_named_by_what_most_runs_do_not_have() -> None:
    alphas = [settings(seed=seed, method=Dfmf(alpha=alpha)) for seed, alpha in enumerate((0.1, 0.2, 0.3))]
    assert choosing.differences(alphas) == ["method.alpha=0.1", "method.alpha=0.2", "method.alpha=0.3"]
    base = [settings(seed=seed) for seed in range(3)]
    other = settings(method=Dfmf(alpha=0.2, tau=1.0))
    assert choosing.differences([*base, other]) == [*["as most"] * 3, "method.tau=1.0 method.alpha=0.2"]


def test_methods_whose_settings_have_other_names_are_told_apart() -> None:
    runs = [settings(method=one) for one in (Dfmf(), Dfmf(), Dfmf(alpha=0.2), Cmi(), CmiGa(), Dfq(), Dfq())]
    words = choosing.differences(runs)
    assert len(set(words)) == 5
    assert words[0].startswith("method.name=dfmf") and words[2].endswith("method.alpha=0.2")
    assert words[5] == words[6] == "method.name=dfq"
    assert choosing.differences([*[settings(method=Dfmf())] * 2, settings(method=Cmi(bank_images=20))]) == [
        *["as most"] * 2,
        "method.name=cmi method.beta=0.0 method.critic_mode=eval",
    ]


def test_runs_of_several_methods_are_examined_and_one_is_chosen(tmp_path: Path) -> None:
    trials = []
    for seed in (0, 1):
        pair = save_pair(tmp_path / f"teachers-{seed}", 10 * seed)
        right, wrong = teacher(10 * seed), teacher(10 * seed + 5)
        for method, share in (("dfmf", 1.0), ("dfq", 0.0), ("zskt", 0.3)):
            name = f"trials/{method}-{seed}"
            changes: dict[str, Any] = {"method": {"name": method}}
            if method == "zskt":
                changes["schedule"] = {"warmup_epochs": 0}
            make_run(tmp_path / name, blend(share, right, wrong), pair, seed=seed, accuracy=50.0, **changes)
            parameters = {"method.name": method}
            trials.append({"folder": name, "status": "finished", "seed": seed, "parameters": parameters})
    (tmp_path / "sweep.json").write_text(json.dumps({"trials": trials}))
    done = dfmf_choose(tmp_path, "--by", "common/divergence", "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["chosen"] == "method.name=dfq"
    assert len(found["configurations"]) == 3 and len(found["runs"]) == 6


def test_what_a_run_says_of_its_own_exam_is_taken_if_it_is_whole(copy: Path) -> None:
    folder = copy / "trials" / "0.1-0"
    measured = rank_runs([folder])[0].criteria
    summary = json.loads((folder / "summary.json").read_text())
    for criteria, taken in (
        (dict.fromkeys(CRITERIA, 7.5), True),
        (dict.fromkeys(CRITERIA, "7.5"), False),
        ({"agreement": 7.5}, False),
        ([1], False),
    ):
        summary["student"]["criteria"] = criteria
        (folder / "summary.json").write_text(json.dumps(summary))
        found = rank_runs([folder])[0].criteria
        assert (found["own/agreement"] == 7.5) == taken
        assert found["common/agreement"] == measured["common/agreement"]
        assert taken or found == measured


def refused(folder: Path, *words: str) -> None:
    done = dfmf_choose(folder)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.output
    assert all(word in done.stderr for word in words), done.stderr


def test_wrong_input_is_one_line(copy: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere: no finished run")
    refused(copy / "trials", "no finished run (by its summary.json) and no sweep (no sweep.json)")
    done = dfmf_choose(copy, "--by", "common/agrement")
    assert (done.exit_code, "did you mean 'common/agreement'?" in done.stderr) == (2, True)
    (copy / "sweep.json").write_text('{"trials": [{"folder": "x"}]}')
    refused(copy, "sweep.json: damaged: trials.0.status: Field required")
    (copy / "sweep.json").write_text("{")
    refused(copy, "sweep.json: damaged: ")
    (copy / "sweep.json").write_text('{"trials": [{"folder": "trials/lost", "status": "failed"}]}')
    refused(copy, "none of the trials is finished")
    (copy / "sweep.json").write_text('{"trials": [{"folder": "trials/lost", "status": "finished"}]}')
    refused(copy, "lost: no finished run")


def test_a_damaged_run_is_one_line(copy: Path) -> None:
    run = copy / "trials" / "0.1-0"
    generator = run / "parties" / "party-1" / "generator.safetensors"
    whole = generator.read_bytes()
    generator.write_bytes(whole[:500])
    refused(run, "party-1/generator.safetensors: damaged")
    generator.unlink()
    refused(run, "party-1/generator.safetensors: no such file")
    save_file({"linear.weight": torch.full((2, 2), torch.nan)}, generator)
    refused(run, "values that are not finite")
    save_file({"linear.weight": torch.zeros(2, 2)}, generator)
    refused(run, "not the weights of the generators that config.yaml describes")
    generator.write_bytes(whole)
    (run / "student.safetensors").write_bytes(b"")
    refused(run, "student.safetensors: ")
    (run / "config.yaml").unlink()
    refused(run, "config.yaml: No such file")
    (run / "summary.json").write_text('{"status": "finished", "teachers": []}')
    refused(run, "holds teachers alone, no fusion")


def test_runs_that_cannot_be_compared_are_refused(sweep: Path, tmp_path: Path) -> None:
    one = sweep / "trials" / "0.1-0"
    others = save_pair(tmp_path / "others", 40)
    other = make_run(tmp_path / "other", teacher(40), others)
    with pytest.raises(UserError, match=r"other: other teachers.* with the same seed 0"):
        rank_runs([one, other])
    seed = make_run(tmp_path / "seed", teacher(40), others, seed=7)
    assert [record.seed for record in rank_runs([one, seed])] == [0, 7]
    pair = sorted((sweep / "teachers-0").glob("*.safetensors"))
    weighted = make_run(tmp_path / "weighted", teacher(0), pair, weights=[1, 3])
    with pytest.raises(UserError, match=r"inputs of them or weights"):
        rank_runs([one, weighted])
    mapped = make_run(tmp_path / "mapped", teacher(0), pair)
    given = f"teachers=[{{path: {pair[0]}, label_map: {{a: b, b: a}}}}, {{path: {pair[1]}}}]"
    config = load_config(str(mapped / "config.yaml"), [given])
    (mapped / "config.yaml").write_text(dump_config(config))
    with pytest.raises(UserError, match=r"mapped: other teachers, inputs of them or weights"):
        rank_runs([one, mapped])
    for spec, words in (
        (
            ImageSpec(size=8, channels=1, classes=("a", "b"), mean=(0.3,), std=(0.4,)),
            "other classes .*2 and 4",
        ),
        (
            ImageSpec(size=16, channels=1, classes=SPEC.classes, mean=(0.3,), std=(0.4,)),
            "takes 1x16x16 images",
        ),
    ):
        strange = make_run(tmp_path / f"{spec.size}-{len(spec.classes)}", teacher(0, spec=spec), pair)
        with pytest.raises(UserError, match=words):
            rank_runs([one, strange])
