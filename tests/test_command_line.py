"""Laws of the command line: files, flags over them, and what is said of wrong ones."""

from pathlib import Path

import pytest
from tests.trees import Conv, Dense, Judge, Settings, Tree

from rayology.command_line import load
from rayology.errors import ConfigError
from rayology.experiment import Experiment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("net: {kind: conv, kernel: 5}\nlr: 0.5\n")
    return path


def test_a_flag_beats_the_file_and_the_file_beats_the_default(file: Path) -> None:
    settings = load(Settings, [str(file), "--lr", "0.25"])

    assert settings == Settings(net=Conv(kernel=5), lr=0.25)


def test_a_flag_that_changes_the_kind_drops_the_old_kinds_fields(file: Path) -> None:
    settings = load(Settings, [str(file), "--net.kind", "dense", "--net.width", "3"])

    assert settings.net == Dense(width=3)


def test_a_flag_without_the_kind_speaks_of_the_kind_that_is_there(file: Path) -> None:
    assert load(Settings, [str(file), "--net.kernel", "7"]).net == Conv(kernel=7)


def test_no_arguments_give_the_defaults() -> None:
    assert load(Settings, []) == Settings()


def test_a_flag_of_a_kind_that_was_not_chosen_is_an_error_that_names_the_kind() -> None:
    with pytest.raises(ConfigError, match=r"model\.loss: belongs to kind gan; set model\.kind$"):
        load(Experiment, ["--model.loss", "hinge"])


def test_a_flag_of_another_kind_that_is_nearly_one_of_the_chosen_kind_says_both() -> None:
    with pytest.raises(
        ConfigError, match=r"source\.patient: belongs to kind .*; set source\.kind, or did you mean patients\?$"
    ):
        load(Experiment, ["--source.patient", "3"])


def test_a_value_that_a_new_kind_needs_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: model\.name: needs a value$"):
        load(Tree, ["--model.kind", "judge"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nett: {}", r"nett: no such field; did you mean net\?"),
        ("net: {kind: conv, kernels: 5}", r"net.kernels: no such field; did you mean kernel\?"),
        ("net: {kind: dense, kernel: 5}", r"net.kernel: belongs to kind conv; set net.kind"),
        ("net: {kind: dance}", r"net.kind: 'dance' is not known; write one of: 'dense', 'conv'"),
        ("lr: -1", "lr: write a number above 0, found '-1'"),
        ("lr: .inf", "lr: write a finite number, found 'inf'"),
        ("lr: fast", "lr: write a number, found 'fast'"),
        ("", "is empty; write 'key: value' lines, or leave the file out"),
        ("- 1", "holds a list; write 'key: value' lines"),
        ("lr: [", "not readable as YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_field_and_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message) as raised:
        load(Settings, [str(path)])

    assert str(raised.value).startswith(str(path))


def test_a_missing_file_says_what_the_first_argument_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; the first argument is a YAML file"):
        load(Settings, [str(tmp_path / "none.yaml")])


def test_a_folder_and_a_file_that_is_not_text_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\x89PNG\xff")

    for name, message in ((".", "is a folder"), ("weights", "is not text")):
        with pytest.raises(ConfigError, match=f"{message}; the first argument is a YAML file of settings"):
            load(Settings, [str(tmp_path / name)])


def test_a_flag_gives_what_a_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("model: {kind: judge}")

    assert load(Tree, [str(path), "--model.name", "x"]).model == Judge(name="x")
    with pytest.raises(ConfigError, match=r"^the command line: model\.name: needs a value$"):
        load(Tree, [str(path)])


def test_a_flag_out_of_range_is_a_mistake_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: lr"):
        load(Settings, ["--lr", "0"])


def test_an_unknown_flag_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"^the command line: there is no flag --net\.kernal; did you mean"):
        load(Settings, ["--net.kernal", "1"])

    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--scaling.num_workers", "2"], "--scaling.num-workers"),
        (["--num-workers=2"], "--scaling.num-workers"),
        (["--shedule.steps", "3"], "--schedule.steps"),
        (["--source.patint", "3"], "--source.patients"),
        (["--source.kind", "folder", "--source.path", "x", "--source.pat", "3"], "--source.path"),
        (["--source.kind=folder", "--source.pacients", "3"], "--source.patients"),
        (["--model.kind", "gan", "--model.packng", "3"], "--model.packing"),
    ],
)
def test_an_unknown_flag_is_answered_with_one_of_the_chosen_kinds_before_one_of_another(
    arguments: list[str], near: str
) -> None:
    with pytest.raises(ConfigError, match=rf"there is no flag --[\w.-]+; did you mean {near}\?$"):
        load(Experiment, arguments)


def test_an_unknown_flag_that_is_near_to_none_is_answered_with_the_way_to_the_help() -> None:
    with pytest.raises(ConfigError, match=r"there is no flag --zzz; --help lists what there is$"):
        load(Settings, ["--zzz"])


def test_a_word_between_flags_is_told_what_a_flag_takes() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: there is not a flag; a flag takes one value, and text"):
        load(Settings, ["--lr", "1", "there"])


@pytest.mark.parametrize("words", [["--labels.b", "2"], ["--labels.b=2"], ["--labels", '{"b": 3}', "--labels.b", "2"]])
def test_a_key_of_a_mapping_is_a_flag(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text("labels: {c: 3}")

    assert load(Tree, words).labels == {"a": 1, "b": 2}
    assert load(Tree, [str(path), *words]).labels == {"a": 1, "b": 2, "c": 3}


def test_a_bundle_to_start_from_is_named_by_a_flag() -> None:
    assert load(Experiment, ["--init.model", "runs/a, b=c", "--seed", "3"]).init == {"model": "runs/a, b=c"}
    with pytest.raises(ConfigError, match=r"^the command line: init: a vae has no role modle; write one of: model$"):
        load(Experiment, ["--init.modle", "runs/a"])


@pytest.mark.parametrize("words", [["--init.model"], ["--init.model", "--seed", "3"]])
def test_a_key_of_a_mapping_without_its_value_is_not_taken_for_an_unknown_flag(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^the command line: --init\.model: expected one argument$"):
        load(Experiment, words)


def test_a_flag_without_its_value_is_not_taken_for_an_unknown_one() -> None:
    with pytest.raises(ConfigError, match=r"--lr: expected one argument$"):
        load(Settings, ["--lr"])


def test_a_flag_of_true_or_false_is_told_to_stand_alone() -> None:
    with pytest.raises(ConfigError, match=r"true is not a flag; a flag of true or false stands alone, as --flag or"):
        load(Settings, ["--lr", "1", "true"])


def test_a_file_after_a_flag_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"wrong\.yaml is not a flag; the YAML file comes before all flags$"):
        load(Settings, ["--lr", "1", "wrong.yaml"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--source.limits", "{max_files: 3"],
            r"^--source\.limits: .* is not JSON from character 2 on .*; write the group",
        ),
        (
            ["--source.limits={max_files: 3"],
            r"^--source\.limits: .* is not JSON from character 2 on .*; write the group",
        ),
        (["--init", "nosuch"], r"^--init: 'nosuch' is not JSON from character 1 on .*; write \{text: text\} as JSON$"),
        (["--name", "x", "--search.narrow={}", "--init", "nosuch"], r"^--init: 'nosuch' is not JSON"),
        (["--model.encoder", "vgg"], r"model\.encoder: is a group, found 'vgg'; write its fields"),
    ],
)
def test_json_that_is_not_any_is_named_by_its_flag_and_its_place(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Experiment, arguments)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nschedule: {steps: 4}\nschedule: {batch_size: 5}\n")

    with pytest.raises(ConfigError, match=r"twice\.yaml: .*'schedule' stands twice, the second time in line 3"):
        load(Experiment, [str(tmp_path / "twice.yaml")])


def test_a_yaml_may_merge_what_an_anchor_names(tmp_path: Path) -> None:
    (tmp_path / "merged.yaml").write_text("schedule: &a {steps: 4}\nsearch: {num_trials: 3}\n")
    (tmp_path / "over.yaml").write_text("schedule:\n  <<: {steps: 4, batch_size: 2}\n  steps: 6\n")

    assert load(Experiment, [str(tmp_path / "merged.yaml")]).schedule.steps == 4
    assert load(Experiment, [str(tmp_path / "over.yaml")]).schedule.steps == 6
