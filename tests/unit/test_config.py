"""Every mistake in a configuration is a line that names the file and the key."""

import json
import math
import random
from pathlib import Path

import pytest
import yaml

from fusion.methods import Dafl, Dfmf
from orchestrator.errors import UserError
from orchestrator.identity import run_identity
from orchestrator.loading import dump_config, load_config, parse_config, preset_text, presets
from orchestrator.running import resolve
from orchestrator.yaml_text import dump_yaml, parse_yaml
from tests.tiny import tiny_run


def lines(run: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_config(run, overrides)
    return str(error.value).splitlines()


def test_all_presets_are_valid_and_begin_with_what_they_are() -> None:
    assert {"digits", "fashion-mnist", "cifar10", "cifar100", "dogs", "paper"} <= set(presets())
    for name in presets():
        load_config(name)
        assert preset_text(name).startswith("# ")


def test_the_paper_preset_is_section_4_1() -> None:
    config = load_config("paper")
    schedule, method = config.schedule, config.method
    assert (schedule.warmup_epochs, schedule.epochs, schedule.iterations_per_epoch) == (50, 200, 400)
    assert (schedule.m_ga, schedule.m_s, schedule.batch_size) == (5, 10, 256)
    assert (method.alpha, method.beta, method.tau, method.distill_scale) == (0.1, 1.0, 3.0, "one")
    assert config.pretrain is not None
    recipe = config.pretrain.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.milestones) == (200, 256, 0.1, (80, 120))
    assert (recipe.momentum, recipe.weight_decay, recipe.crop_padding, recipe.flip) == (0.9, 5e-4, 4, 0.5)


def test_a_dumped_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    for name in presets():
        config = load_config(name, ["method.alpha=0.2", "seed=7"])
        (tmp_path / "c.yaml").write_text(dump_config(config))
        assert load_config(str(tmp_path / "c.yaml")) == config


def test_a_file_changes_its_preset_and_the_command_line_changes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("preset: digits\nmethod: {alpha: 0.3, tau: 4}\n")
    config = load_config(str(path), ["method.alpha=0.5", "schedule.epochs=1", "optimisation.student_lr=1e-2"])
    assert (config.method.alpha, config.method.tau, config.schedule.epochs) == (0.5, 4.0, 1)
    assert config.optimisation.student_lr == 0.01
    assert config.student == "resnet8"


def test_the_method_is_a_choice_and_a_section_without_a_name_is_dfmf() -> None:
    assert load_config("digits").method == Dfmf()
    assert load_config("digits", ["method.alpha=0.2"]).method == Dfmf(alpha=0.2)
    chosen = load_config("digits", ["method.name=dafl", "method.activation_weight=0.3"])
    assert chosen.method == Dafl(activation_weight=0.3)
    assert parse_config(yaml.safe_load(dump_config(chosen)), "dumped") == chosen


def test_of_dfmf_alone_a_checkpoint_does_not_say_the_methods_name() -> None:
    names = [
        run_identity(load_config("digits", changes), []).get("method.name")
        for changes in ([], ["method.name=dafl"], ["method.name=dfq_no_adv"])
    ]
    assert names == [None, "dafl", "dfq_no_adv"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("studnt: x", "studnt: unknown key; did you mean 'student'?"),
        ("method: {alpah: 1}", "method.alpah: unknown key; did you mean 'alpha'?"),
        ("pretrain: {recipe: {epochz: 3}}", "pretrain.recipe.epochz: unknown key; did you mean 'epochs'?"),
        ("method: {alpha: -1}", "method.alpha: must be at least 0 (got -1.0)"),
        ("method: {tau: 0}", "method.tau: must be above 0 (got 0.0)"),
        (
            "method: {name: dfqq}",
            "method.name: unknown method 'dfqq'; did you mean 'dfq'? (known: dfmf, dfq,",
        ),
        (
            "method: {name: null}",
            "method.name: unknown method None (known: dfmf, dfq, dfq_no_adv, dafl, zskt, deepinversion, "
            "adaptive_deepinversion, cmi, cmi_ga, nayer, fast, transfer_set, vanilla_kd)",
        ),
        ("method: {name: [1]}", "method.name: unknown method [1] (known: dfmf,"),
        ("method: dfq", "method: should be an object (got 'dfq')"),
        (
            "method: {name: zskt, alpha: 1}",
            "method.alpha: unknown key (known: name, beta, tau, distill_scale, critic_mode, staleness) of "
            "method 'zskt'",
        ),
        ("method: {name: dfq, activation_weight: 1}", "method.activation_weight: unknown key (known: name,"),
        (
            "method: {name: dafl, instance_loss: hot}",
            "method.instance_loss: should be 'one_hot' or 'entropy'",
        ),
        (
            "method: {name: dafl, activation_weight: -1}",
            "method.activation_weight: must be at least 0 (got -1.0)",
        ),
        ("method: {name: dfq, staleness: -1}", "method.staleness: must be at least 0 (got -1)"),
        ("method: {name: dfmf, staleness: 1}", "method.staleness: unknown key (known: name,"),
        (
            "method: {name: zskt}\nengine: {mode: local}",
            "schedule.warmup_epochs: must be 0 for method 'zskt', without a warm-up",
        ),
        (
            "method: {name: dfq_no_adv}\nschedule: {warmup_epochs: 0}",
            "schedule.warmup_epochs: must be above 0 for method 'dfq_no_adv', whose generators learn only "
            "there",
        ),
        (
            "method: {name: deepinversion, alpha: 1}",
            "method.alpha: unknown key (known: name, beta, tau, distill_scale, inversion_steps, "
            "inversion_every, inversion_batch, bank_images, bn_loss, bn_weight, tv_weight, l2_weight, "
            "image_lr, jitter) of method 'deepinversion'",
        ),
        (
            "method: {name: deepinversion, compete_weight: 1}",
            "method.compete_weight: unknown key; did you mean",
        ),
        (
            "method: {name: adaptive_deepinversion, compete_weight: -1}",
            "method.compete_weight: must be at least 0 (got -1.0)",
        ),
        (
            "method: {name: deepinversion}",
            "schedule.warmup_epochs: must be 0 for method 'deepinversion', without a warm-up",
        ),
        (
            "method: {name: deepinversion, bank_images: 100}\nschedule: {warmup_epochs: 0, batch_size: 128}",
            "method.bank_images: must be at least schedule.batch_size, 128 (got 100)",
        ),
        (
            "method: {name: fast, bank_images: 300, inversion_batch: 400}\nschedule: {warmup_epochs: 0}",
            "method.bank_images: must be at least method.inversion_batch, 400 (got 300)",
        ),
        ("method: {name: nayer, inversion_batch: 1}", "method.inversion_batch: must be at least 2 (got 1)"),
        ("method: {name: dfmf, inversion_batch: 9}", "method.inversion_batch: unknown key (known: name,"),
        (
            "generator: {layout: nayer}\nschedule: {batch_size: 3}\nengine: {mode: local}",
            "generator.layout: 'nayer' makes no single image with the statistics of the batch "
            "(generator.sampling), which is what each of 2 parties has in a batch of 3",
        ),
        ("generator: {layout: dcgan}", "generator.layout: should be 'dfq' or 'nayer' (got 'dcgan')"),
        (
            "method: {name: cmi, jitter: 1}\nengine: {mode: local}",
            "method.jitter: unknown key (known: name, beta, tau, distill_scale, critic_mode, ",
        ),
        (
            "method: {name: nayer, noisy_layer: conv}\nengine: {mode: local}",
            "method.noisy_layer: should be 'linear', 'linear-linear', 'batchnorm-linear', ",
        ),
        (
            "method: {name: fast, restart_every: 3}\nengine: {mode: local}",
            "method.restart_every: unknown key (known: name, beta, tau, distill_scale, critic_mode, ",
        ),
        ("method: {name: fast, bn_momentum: 1.0}", "method.bn_momentum: must be below 1 (got 1.0)"),
        (
            "method: {name: cmi_ga, contrast_temperature: 0}",
            "method.contrast_temperature: must be above 0 (got 0.0)",
        ),
        (
            "method: {name: deepinversion, inversion_steps: 0}",
            "method.inversion_steps: must be at least 1 (got 0)",
        ),
        ("method: {tau: .inf}", "method.tau: "),
        ("method: {tau: hot}", "method.tau: should be a valid number (got 'hot')"),
        ("method: {critic_mode: off}", "method.critic_mode: should be 'train' or 'eval' (got 'off')"),
        ("schedule: {epochs: 0}", "schedule.epochs: must be at least 1 (got 0)"),
        ("schedule: {m_ga: true}", "schedule.m_ga: should be a valid integer (got True)"),
        (
            "schedule: {batch_size: 2}\npretrain: {parties: 3}",
            "schedule.batch_size: batch_size 2 cannot be split over 3",
        ),
        ("pretrain: {parties: 0}", "pretrain.parties: should be greater than or equal to 1 (got 0)"),
        ("pretrain: {r: 0.9}", "pretrain.r: should be greater than or equal to 1 (got 0.9)"),
        ("pretrain: {networks: [resnet8, resnet8, resnet8]}", "pretrain.networks: 3 networks for 2 parties"),
        ("pretrain: {networks: [resnet9]}", "pretrain.networks: unknown network"),
        ("teachers: []", "teachers: "),
        ("student: resnet19", "student: unknown network"),
        ("weights: [1, 2, 3]", "weights: 3 weights for 2 teachers"),
        ("weights: some", "weights: must be 'uniform', 'confidence' or a list of numbers, one a teacher"),
        ("weights: [1, a]", "weights: must be 'uniform', 'confidence' or a list of numbers, one a teacher"),
        ("weights: {a: 1}", "weights: must be 'uniform', 'confidence' or a list of numbers, one a teacher"),
        ("pretrain: {classes: [[0, 1]]}", "pretrain.classes: 1 given for 2 parties; give one each"),
        ("pretrain: {classes: [[0], [1, 2]]}", "pretrain.classes: a party needs two classes or more"),
        ("pretrain: {classes: [[0, 0], [1, 2]]}", "pretrain.classes: a party needs two classes or more"),
        ("pretrain: {classes: [0, 1]}", "pretrain.classes: must be a list of names or numbers"),
        ("pretrain: {classes: [[0, 1.5], [1, 2]]}", "pretrain.classes: must be a list of names or numbers"),
        ("pretrain: {shares: [1]}", "pretrain.shares: 1 given for 2 parties; give one each"),
        ("pretrain: {shares: [1, 0]}", "pretrain.shares.1: should be greater than 0 (got 0)"),
        ("teachers: [{path: a, label_map: {}}]", "teachers.0.label_map: dictionary should have at least 1"),
        ("teachers: [{path: a, label_map: {a: ''}}]", "teachers.0.label_map: an empty name is no class"),
        (
            "teachers: [{path: a, label_map: {a: c, b: c}}]",
            "teachers.0.label_map: two classes would be called 'c'",
        ),
        ("teachers: [{path: a, label_map: {a: 1}}]", "teachers.0.label_map.a: should be a valid string"),
        ("weights: [0, 0]", "weights: weights must be finite, at least 0, and one of them above 0"),
        ("weights: [.nan, 1]", "weights: weights must be finite, at least 0, and one of them above 0"),
        ("weights: [1.0e+308, 1.0e+308]", "weights: weights must be finite, at least 0, and one of them"),
        ("engine: {prefetch: -1}", "engine.prefetch: should be greater than or equal to 0 (got -1)"),
        ("engine: {labelling: nobody}", "engine.labelling: should be 'auto', 'student' or 'parties'"),
        ("engine: {party_actors: 0}", "engine.party_actors: should be greater than or equal to 1 (got 0)"),
        (
            "engine: {student_workers: 3, mode: ray}\nschedule: {batch_size: 32}",
            "engine.student_workers: 3 workers cannot share the 16 images that each of the 2 parties has",
        ),
        ("engine: {student_workers: 2, mode: local}", "engine.student_workers: more than 1 needs"),
        ("schedule: {teachers_per_batch: 0}", "schedule.teachers_per_batch: must be at least 1 (got 0)"),
        ("compute: {precision: float16}", "compute.precision: should be 'float32' or 'bfloat16'"),
        ("name: ../evil", "name: string should match pattern"),
        ("seed: -1", "seed: should be greater than or equal to 0"),
        ("pretrain: null", "teachers: name at least one"),
        ("data: null", "data: needed to pretrain the teachers"),
        ("data: {source: mnist}", "data.source: should be 'digits'"),
    ],
)
def test_each_mistake_names_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"preset: digits\n{text}\n")
    found = lines(str(path))
    assert len(found) == 1
    assert found[0].startswith(f"{path}: {expected}")


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "preset: digits\nmethod: {alpha: -1, tau: -2}\nschedule: {epochs: 0}\nengine: {threads: 0}\n"
    )
    found = lines(str(path))
    assert [line.split(": ")[1] for line in found] == [
        "method.tau",
        "method.alpha",
        "schedule.epochs",
        "engine.threads",
    ]


def test_a_mistake_on_the_command_line_is_called_that() -> None:
    assert lines("digits", "method.alpha=-1") == ["command line: method.alpha: must be at least 0 (got -1.0)"]
    assert lines("digits", "method.alpha") == [
        "method.alpha: an override is KEY=VALUE, such as method.alpha=0.2"
    ]
    assert lines("digits", "student.depth=3")[0].startswith("student.depth=3: student holds a value")
    for position in ("4", "²"):
        change = f"pretrain.networks.{position}=x"
        assert lines("digits", change)[0].startswith(f"{change}: {position} is no position")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "no valid YAML"),
        ("- 1", "must be a mapping"),
        ("seed: 1\nseed: 2", "line 2: no valid YAML: key 'seed' stands twice"),
        ("preset: digit", "preset: unknown 'digit'; did you mean 'digits'?"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    found = lines(str(path))
    assert len(found) == 1
    assert found[0].startswith(str(path))
    assert words in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "student: !!python/object/apply:os.system [id]",
            "tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("seed: !!bool x", "tag 'tag:yaml.org,2002:bool' is not allowed"),
        ("[a]: 1", "a key must be a word"),
        ("seed: \x01", "character 0x1 at 6"),
        ('output: "a\\0b"', "character 0x0 is in a text"),
        ('"a\\0b": 1', "character 0x0 is in a text"),
        ("seed: *a", "found undefined alias 'a'"),
        ("seed: " + "[" * 1000, "nested too deeply"),
    ],
)
def test_yaml_that_is_none_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    (line,) = lines(str(path))
    assert line.startswith(str(path))
    assert f"no valid YAML: {expected}" in line


@pytest.mark.parametrize(
    "value", ["0b", "09:99", "2020-99-99", "9" * 5000, "1_000", '"\\ud800"', '"\\x1b[2J\\n"', "&a [*a]"]
)
def test_values_that_only_look_like_something_are_one_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"preset: digits\nstudent: {value}\n")
    (line,) = lines(str(path))
    assert line.startswith(str(path))
    assert line.isprintable()


def test_a_key_with_a_line_end_is_one_line_and_so_is_a_name_of_a_file() -> None:
    (line,) = lines("digits", 'method={"a\\nb\\x1b[2J": 1}')
    assert line.startswith(r"command line: method.a\nb\x1b[2J: unknown key")
    assert lines("a\nb.yaml")[0].startswith(r"a\nb.yaml: No such file")
    assert lines("a\0b.yaml")[0].startswith(r"a\x00b.yaml: no path")


def test_a_missing_file_and_a_binary_one_are_named(tmp_path: Path) -> None:
    assert lines("nowhere.yaml")[0].startswith("nowhere.yaml: No such file or directory")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "no UTF-8 text" in lines(str(tmp_path / "b.yaml"))[0]


def test_paths_are_short_for_teachers() -> None:
    long = [{"path": "b.safetensors", "name": "B"}, {"source": "c.pt", "mean": [0, 0.5]}]
    config = parse_config(tiny_run(teachers=["a.safetensors", *long]), "test")
    assert config.teachers is not None
    assert [(one.source, one.name, one.mean) for one in config.teachers] == [
        ("a.safetensors", None, None),
        ("b.safetensors", "B", None),
        ("c.pt", None, (0, 0.5)),
    ]


def test_code_is_only_named_by_who_allows_it() -> None:
    def refused(**teacher: object) -> str:
        with pytest.raises(UserError) as error:
            parse_config(tiny_run(teachers=[{"source": "a.pt", **teacher}]), "test")
        return str(error.value)

    assert "teachers.0.allow_code: os:system is Python code" in refused(network="os:system")
    assert "teachers.0.network: unknown network 'resnet19'" in refused(network="resnet19")
    assert "takes no argument 'weights' here" in refused(
        network="torchvision:resnet18", arguments={"weights": "DEFAULT"}
    )
    assert "takes no argument 'checkpoint_path' here" in refused(
        network="timm:resnet18", arguments={"checkpoint_path": "evil.bin"}
    )


def test_every_key_is_documented_with_its_default() -> None:
    from orchestrator.documentation import configuration_page

    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    assert page == configuration_page(), "run: python -m orchestrator.documentation > docs/configuration.md"
    assert "| `method.alpha` |" in page
    assert all(row.split(" | ")[2].strip() for row in page.splitlines() if row.startswith("| `"))


def nasty_texts() -> list[str]:
    """What YAML, of one version or another, takes for numbers, dates, words or marks of its own."""
    draw = random.Random(0)
    words = (
        "1e3 1e-3 00008 08 0o7 0x1F 1_000 1:30 .5 5. +1 - -1 -.inf .nan ~ null Null true yes no on off y = <<"
    )
    pieces = [*words.split(), *"0123456789eE.+-_:#&*!|>%@`'\"{}[],?~= ", "\n", "\t", "\r", "\x85"]
    pieces += ["\u2028", "\ufeff", "\U0001f600", "é", "x", "2001-01-01", "---", "...", ": ", " #", "a" * 130]
    return ["", *pieces, *("".join(draw.choices(pieces, k=draw.randint(2, 6))) for _ in range(3000))]


def test_every_text_and_number_is_read_as_it_was_written() -> None:
    for text in nasty_texts():
        tree = {"a": [text, {"b": text}], text: 1}
        assert parse_yaml(dump_yaml(tree), "dumped") == tree, repr(text)
        assert yaml.safe_load(dump_yaml([text])) == [text]  # As other programs read it.
    numbers = [0, -1, 10**30, 1e-5, 1e22, 0.1, -2.5e-300, math.inf, -math.inf, True, False, None]
    assert repr(parse_yaml(dump_yaml(numbers), "dumped")) == repr(numbers)


def test_names_that_look_like_numbers_are_read_back(tmp_path: Path) -> None:
    classes = ["00007", "00008", "00019", "08"]
    config = load_config("demo", ["name='1e3'", f"classes={json.dumps(classes)}"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "config.yaml")) == config


def test_yaml_1_2_numbers_and_words(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        yaml.safe_dump({"preset": "digits"})
        + "optimisation: {student_lr: 1e-3}\ntracking: {experiment: on}\n"
    )
    config = load_config(str(path))
    assert (config.optimisation.student_lr, config.tracking.experiment) == (0.001, "on")


def test_overrides_change_a_mapping_and_not_the_callers() -> None:
    tree = tiny_run()
    config, name = resolve(tree, ["schedule.m_ga=3", "generator.width=16"])
    assert (config.schedule.m_ga, config.generator.width, name) == (3, 16, "run")
    assert tree == tiny_run()
