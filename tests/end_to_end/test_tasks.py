"""Whole runs of tagging and regression: trained, resumed, evaluated, predicted, shown, exported."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pretrained_folders
import pytest
import small_tasks
from programs import assert_same_run, losses, run
from task_runs import Job, job, metrics, ok, refused
from test_kills import killed_at

pytestmark = pytest.mark.end_to_end
OTHERS = ("regression", "labels", "two_losses")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with files of rows in every form."""
    folder = tmp_path_factory.mktemp("data")
    for split, count, seed in (("train", 300, 0), ("test", 80, 1)):
        given = small_tasks.sentences(count, seed)
        as_published = [(words, small_tasks.in_iob1(tags)) for words, tags in given]
        small_tasks.write_sentences(folder / f"{split}.jsonl", given)
        small_tasks.write_sentences(folder / f"{split}.conll", given)
        small_tasks.write_sentences(folder / f"{split}.iob.gz", as_published)
        small_tasks.write_pairs(folder / f"{split}.tsv", count, seed)
        small_tasks.write_labelled(folder / f"{split}-labelled.jsonl", count, seed)
    return folder


@pytest.fixture(scope="module")
def tagging(data, cache) -> Job:
    return job("tagging", data / "train.jsonl", data / "test.jsonl", cache)


@pytest.fixture(scope="module")
def regression(data, cache) -> Job:
    flags = job("regression", data / "train.tsv", data / "test.tsv", cache).flags
    return Job((*flags, f"--config.data.more_tests=('again={data / 'test.tsv'}',)"))


@pytest.fixture(scope="module")
def labels(data, cache) -> Job:
    return job("labels", data / "train-labelled.jsonl", data / "test-labelled.jsonl", cache)


@pytest.fixture(scope="module")
def two_losses(data, cache) -> Job:
    return job("two_losses", data / "train.tsv", data / "test.tsv", cache)


@pytest.fixture(scope="module")
def tagged(launch, tagging, tmp_path_factory) -> Path:
    """The workdir of a tagger that has ended; nobody may change it."""
    folder = tmp_path_factory.mktemp("tagged") / "run"
    said = ok(launch(*tagging.at(folder))).stderr
    assert "tags in BIO, learned in BIO" in said
    assert re.search(r"train: \d+ sentences, \d+ more windows of long ones, [\d,]+ words", said)
    assert re.search(r"\d types, entities in train, validation, test:\n  0  'LOC'  +\d+", said)
    return folder


@pytest.fixture(scope="module")
def rated(launch, regression, tmp_path_factory) -> Path:
    """The workdir of a regression that has ended; nobody may change it."""
    folder = tmp_path_factory.mktemp("rated") / "run"
    said = ok(launch(*regression.at(folder))).stderr
    assert re.search(r"test: 1 from 0 to 5, mean \d\.\d+, standard deviation", said)
    return folder


# Tagging


def test_a_tagger_learns_and_is_evaluated_as_it_was_in_the_run(launch, tagged, cache):
    found = metrics(tagged)
    assert found["f1"] > 0.9
    assert found["examples"] == 80
    assert {"precision", "recall", "accuracy", "loss"} < found.keys()
    ended = ok(launch(f"--workdir={tagged}", cache, program="launch.evaluate"))
    again = json.loads(ended.stdout)
    assert {name: again[name] for name in found} == pytest.approx(found, rel=1e-6)
    groups = json.loads((tagged / "result.json").read_text())["groups"]
    assert groups.keys() == {"validation", "test"}
    assert groups["test"] == again["groups"]
    assert {*again["groups"]} == {"LOC", "PER"}
    assert again["groups"]["PER"].keys() == {"precision", "recall", "f1", "support"}


@pytest.fixture(scope="module")
def short(launch, tagging, tmp_path_factory) -> Path:
    """The workdir of a tagger of eight steps."""
    folder = tmp_path_factory.mktemp("short") / "run"
    ok(launch(*tagging.at(folder, *SHORT)))
    return folder


SHORT = ("--config.max_steps=8", "--config.log_every_steps=1")


@pytest.mark.long
@pytest.mark.parametrize("ending", ["conll", "iob.gz"])
def test_columns_of_any_scheme_give_the_same_run(launch, data, cache, tmp_path, short, ending):
    other = job("columns", data / f"train.{ending}", data / f"test.{ending}", cache)
    said = ok(launch(*other.at(tmp_path / "run", *SHORT))).stderr
    assert f"tags in {'IOB1' if ending == 'iob.gz' else 'BIO'}, learned in BIO" in said
    assert losses(tmp_path / "run") == losses(short)
    assert len(losses(short)) == 8
    assert metrics(tmp_path / "run") == metrics(short)


def test_entities_of_plain_texts_have_their_characters(launch, tagged, tmp_path):
    texts = ["anna met zoe li in new york", "", "what a day", "Mia's dog saw Tom van Dam."]
    flags = [f"--texts={text}" for text in texts]
    ended = ok(launch(f"--workdir={tagged}", *flags, program="launch.predict"))
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["id"] for line in lines] == [0, 1, 2, 3]
    for text, line in zip(texts, lines, strict=True):
        assert len(line["words"]) == len(line["tags"])
        for entity in line["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert 0 < entity["probability"] <= 1
    found = [(each["type"], each["text"]) for each in lines[0]["entities"]]
    assert found == [("PER", "anna"), ("PER", "zoe li"), ("LOC", "new york")]
    assert lines[1] == {"id": 1, "words": [], "tags": [], "entities": []}


def test_lists_of_words_keep_their_words_and_a_long_sentence_none_of_its_tags(
    launch, tagged, tmp_path
):
    given = [words for words, _ in small_tasks.sentences(40, seed=2)]
    given.append([word for words in given for word in words] * 3)
    assert len(given[-1]) > 500
    path = small_tasks.write_jsonl(tmp_path / "new.jsonl", [{"tokens": words} for words in given])
    output = tmp_path / "found.jsonl"
    flags = (f"--workdir={tagged}", f"--input={path}", f"--output={output}")
    ok(launch(*flags, program="launch.predict"))
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [len(line["tags"]) for line in lines] == [len(words) for words in given]
    for words, line in zip(given, lines, strict=True):
        for entity in line["entities"]:
            first, end = entity["words"]
            assert entity["text"] == " ".join(words[first:end])
    right = sum(
        line["tags"] == tags
        for line, (_, tags) in zip(lines, small_tasks.sentences(40, seed=2), strict=False)
    )
    assert right > 30


def test_a_file_of_columns_can_be_predicted(launch, tagged, data, tmp_path):
    output = tmp_path / "found.jsonl"
    flags = (f"--workdir={tagged}", f"--input={data / 'test.iob.gz'}", f"--output={output}")
    line = refused(launch, tagged, *flags, program="launch.predict")
    assert "--text='tokens': file" in line
    assert "give the column's number" in line
    ok(launch(*flags, "--text=0", program="launch.predict"))
    found = [json.loads(line)["tags"] for line in output.read_text().splitlines()]
    given = [tags for _, tags in small_tasks.sentences(80, 1)]
    right = sum(map(sum, (map(str.__eq__, *pair) for pair in zip(found, given, strict=True))))
    assert right / sum(map(len, given)) == pytest.approx(metrics(tagged)["accuracy"], abs=1e-9)
    flags = (f"--workdir={tagged}", f"--input={data / 'test.conll'}", "--text=0", "--id=1")
    assert "--id is of CSV" in refused(launch, tagged, *flags, program="launch.predict")


def test_columns_are_not_for_a_model_of_texts(launch, rated, data):
    flags = (f"--workdir={rated}", f"--input={data / 'test.conll'}")
    line = refused(launch, rated, *flags, program="launch.predict")
    assert "test.conll holds words in columns: the model takes texts" in line


def test_a_txt_may_hold_texts_or_columns(launch, tagged, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("anna met bob\n")
    where = (f"--workdir={tagged}", f"--input={path}")
    line = refused(launch, tagged, *where, program="launch.predict")
    assert "a.txt may hold plain text or words in columns: give --format=text or --format=c" in line
    ended = ok(launch(*where, "--format=text", program="launch.predict"))
    assert json.loads(ended.stdout)["words"] == ["anna", "met", "bob"]


@pytest.mark.parametrize("run", ["tagged", "rated"])
def test_what_has_no_class_is_not_explained(launch, request, run, data, tmp_path):
    workdir = request.getfixturevalue(run)
    path = small_tasks.write_jsonl(tmp_path / "a.jsonl", [{"tokens": ["a"], "0": "a", "2": "b"}])
    flags = (
        f"--workdir={workdir}",
        f"--input={path}",
        "--explain",
        f"--page={tmp_path / 'p.html'}",
    )
    refused(launch, workdir, *flags, program="launch.predict")
    assert not (tmp_path / "p.html").exists()


def test_the_report_shows_types_and_marked_sentences(launch, short, tagged, tmp_path):
    shutil.copytree(short, tmp_path / "short")
    page = tmp_path / "report.html"
    flags = (f"--workdir={tagged}", tmp_path / "short", f"--output={page}")
    ended = launch(*flags, program="launch.report")
    ok(ended)
    text = page.read_text()
    for said in ("By type", "Types of words", "Wrong sentences", "<td>PER</td>", "McNemar"):
        assert said in text or said.replace("<td>", '<td class="text">') in text, said
    assert 'mark class="wrong"' in text
    assert "Traceback" not in ended.stderr


def _served(launch, workdir: Path, output: Path):
    flags = (f"--workdir={workdir}", "--format=savedmodel", f"--output={output}")
    ok(launch(*flags, program="launch.export"))
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  # the operations of the texts' signature

    return tf.saved_model.load(str(output))


@pytest.mark.long
def test_a_saved_model_of_a_tagger_takes_ids(launch, tagged, tmp_path):
    import tensorflow as tf

    served = _served(launch, tagged, tmp_path / "made")
    ids = tf.constant([[2, 7, 8, 3], [2, 9, 3, 0]])
    mask = tf.constant([[1, 1, 1, 1], [1, 1, 1, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
    found = served.signatures["ids"](**inputs)
    assert found["tags"].shape == found["probabilities"].shape == (2, 4)
    assert {*found["tags"].numpy().ravel()} <= {b"O", b"B-LOC", b"I-LOC", b"B-PER", b"I-PER"}
    texts = ["anna met bob in new york", "a\x1cb", "mia's dog"]  # short: the end of others is cut
    of_texts = served.signatures["serving_default"]
    (name,) = of_texts.structured_input_signature[1]
    words, tags = (of_texts(**{name: tf.constant(texts)})[key].numpy() for key in ("words", "tags"))
    flags = (f"--workdir={tagged}", *(f"--texts={text}" for text in texts))
    predicted = ok(launch(*flags, program="launch.predict")).stdout.splitlines()
    for i, line in enumerate(map(json.loads, predicted)):
        count = len(line["words"])
        assert [word.decode() for word in words[i][:count]] == line["words"]
        assert [tag.decode() for tag in tags[i][:count]] == line["tags"]
        assert not any(words[i][count:])


@pytest.mark.promises
def test_a_cut_tagger_goes_on_as_the_uncut(launch, tagging, tagged, tmp_path):
    run = tmp_path / "run"
    ok(launch(*tagging.at(run, "--config.max_steps=33")))
    said = ok(launch(*tagging.at(run, "--config.max_steps=600"))).stderr
    assert "Resuming at step 33" in said
    assert_same_run(tagged, run)


@pytest.mark.promises
@pytest.mark.parametrize(
    "name",
    ["tagging", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)],
)
def test_a_run_killed_in_four_places_ends_as_the_undisturbed(request, name, tmp_path):
    flags = (
        "--config.runtime.max_rows_per_device=4",
        "--config.evaluation.every_steps=10",
        "--config.evaluation.batch_size=16",
    )
    job: Job = request.getfixturevalue(name)
    ok(run(*job.at(tmp_path / "calm", *flags)))
    killed = job.at(tmp_path / "killed", *flags)
    for place in ("accumulation:13", "evaluation:2", "writing:2", "saving:3"):
        killed_at(place, killed)
    ok(run(*killed))
    assert_same_run(tmp_path / "calm", tmp_path / "killed")


@pytest.mark.cluster
@pytest.mark.parametrize(
    "name",
    ["tagging", "two_losses", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS[:2])],
)
def test_two_workers_train_the_run_of_one(request, name, tmp_path):
    """Sentences of unequal numbers of words on each; the last batch is not full."""
    trained, flags = request.getfixturevalue(name), ("--config.log_every_steps=1",)
    ok(run(*trained.at(tmp_path / "one", *flags)))
    ok(run("--workers=2", "--", *trained.at(tmp_path / "two", *flags), program="launch.local"))
    one, two = (losses(tmp_path / each) for each in ("one", "two"))
    assert list(one) == list(two)
    assert list(one.values()) == pytest.approx(list(two.values()), rel=1e-4)
    alone, shared = (metrics(tmp_path / each) for each in ("one", "two"))
    assert shared == pytest.approx(alone, abs=1e-3)


def test_another_task_on_a_resume_is_refused(launch, tagged, rated, data, tagging, cache):
    small_tasks.write_jsonl(
        data / "texts.jsonl", [{"text": f"a {i}", "score": i} for i in range(9)]
    )
    small_tasks.write_jsonl(data / "more.jsonl", [{"text": f"b {i}", "score": i} for i in range(9)])
    other = job("scores", data / "texts.jsonl", data / "more.jsonl", cache)
    line = refused(launch, tagged, *other.at(tagged))
    assert f"--workdir={tagged} holds another run" in line
    assert "trainer.tasks.regression:Regression" in line
    line = refused(launch, rated, *tagging.at(rated))
    assert "holds another run" in line


def test_another_scheme_or_smoothing_is_another_run(launch, tagged, tagging):
    line = refused(launch, tagged, *tagging.at(tagged, "--config.task.label_smoothing=0.1"))
    assert "config.task.label_smoothing: 0.0 -> 0.1" in line
    line = refused(launch, tagged, *tagging.at(tagged, "--config.task.context=3"))
    assert "config.task.context: 4 -> 3" in line


@pytest.mark.long
def test_a_pretrained_tagger_is_exported_for_transformers(launch, data, cache, tmp_path):
    """From the encoder of a pretrained model without a head."""
    from transformers import AutoConfig, AutoTokenizer

    folder = pretrained_folders.copy("bert", tmp_path / "bert")
    run, output = tmp_path / "run", tmp_path / "exported"
    words = [*pretrained_folders.GOOD, *pretrained_folders.BAD, "film", "number", "a"]
    drawn = np.random.default_rng(0)
    for name, count in (("a", 60), ("b", 20)):
        rows = []
        for i in range(count):
            chosen = [str(word) for word in drawn.choice(words, drawn.integers(1, 8))]
            tags = ["B-GOOD" if word in pretrained_folders.GOOD else "O" for word in chosen]
            rows.append(([*chosen, str(i), name], [*tags, "O", "O"]))
        small_tasks.write_sentences(tmp_path / f"{name}.jsonl", rows)
    flags = job("tagging", tmp_path / "a.jsonl", tmp_path / "b.jsonl", cache).at(
        run,
        f"--config.model.pretrained={folder}",
        "--config.model.head=native",
        "--config.data.max_length=16",
        "--config.max_steps=4",
    )
    ok(launch(*flags))
    flags = (f"--workdir={run}", "--format=huggingface", f"--output={output}")
    ok(launch(*flags, program="launch.export"))
    config = AutoConfig.from_pretrained(output)
    assert config.architectures == ["BertForTokenClassification"]
    assert config.id2label == {0: "O", 1: "B-GOOD", 2: "I-GOOD"}
    assert AutoTokenizer.from_pretrained(output)("good film").input_ids


# Regression


def test_a_regression_learns_and_is_evaluated_as_it_was_in_the_run(launch, rated, cache):
    found = metrics(rated)
    assert found["pearson"] > 0.9
    assert {"spearman", "rmse", "mae", "loss"} < found.keys()
    assert json.loads((rated / "result.json").read_text())["more_tests"] == {"again": found}
    ended = ok(launch(f"--workdir={rated}", cache, program="launch.evaluate"))
    again = json.loads(ended.stdout)
    assert {name: again[name] for name in found} == pytest.approx(found, rel=1e-6)


def test_scores_of_pairs_are_predicted_within_the_bounds(launch, rated, data, tmp_path):
    small_tasks.write_jsonl(
        tmp_path / "new.jsonl",
        [
            {"0": "good good", "2": "good good"},
            {"0": "bad bad", "2": "bad bad"},
            {"0": "", "2": ""},
        ],
    )
    ended = ok(
        launch(f"--workdir={rated}", f"--input={tmp_path / 'new.jsonl'}", program="launch.predict")
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [sorted(line) for line in lines] == [["id", "score"]] * 3
    assert all(0 <= line["score"] <= 5 for line in lines)
    assert lines[0]["score"] > lines[1]["score"] + 2
    # The file that it was tested on, without a header as the run has it.
    flags = (f"--workdir={rated}", f"--input={data / 'test.tsv'}")
    found = [
        json.loads(line)["score"]
        for line in ok(launch(*flags, program="launch.predict")).stdout.splitlines()
    ]
    scores = [float(line.split("\t")[1]) for line in (data / "test.tsv").read_text().splitlines()]
    error = np.array(found) - np.array(scores)
    assert np.sqrt((error**2).mean()) == pytest.approx(metrics(rated)["rmse"], rel=1e-4)


def test_one_text_is_too_little_for_a_pair(launch, rated):
    line = refused(launch, rated, f"--workdir={rated}", "--texts=a", program="launch.predict")
    assert "the model takes more than a text" in line


def test_the_report_of_a_regression_has_its_points(launch, rated, tmp_path):
    page = tmp_path / "report.html"
    ok(launch(f"--workdir={rated}", f"--output={page}", program="launch.report"))
    text = page.read_text()
    for said in ("Largest errors", "Errors by label", 'aria-label="Scores"', 'id="pearson-1">0.9'):
        assert said in text, said
    assert "McNemar" not in text


@pytest.mark.promises
def test_a_cut_regression_goes_on_as_the_uncut(launch, regression, rated, tmp_path):
    run = tmp_path / "run"
    ok(launch(*regression.at(run, "--config.max_steps=33")))
    said = ok(launch(*regression.at(run, "--config.max_steps=600"))).stderr
    assert "Resuming at step 33" in said
    assert_same_run(rated, run)


@pytest.mark.long
def test_a_saved_model_of_a_regression_takes_ids(launch, rated, tmp_path):
    import tensorflow as tf

    served = _served(launch, rated, tmp_path / "made")
    ones = tf.ones([2, 3], tf.int32)
    inputs = {"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones}
    (score, again) = served.signatures["ids"](**inputs)["score"].numpy()
    assert 0 <= score == again <= 5


# Several labels


@pytest.mark.long
def test_several_labels_from_training_to_use(launch, labels, data, cache, tmp_path):
    run, out = tmp_path / "run", tmp_path / "made"
    test = data / "test-labelled.jsonl"
    ok(launch(*labels.at(run, "--config.max_steps=33")))
    said = ok(launch(*labels.at(run, "--config.max_steps=600"))).stderr
    assert "Resuming at step 33" in said
    found = metrics(run)
    assert found["f1_micro"] > 0.9
    again = json.loads(ok(launch(f"--workdir={run}", cache, program="launch.evaluate")).stdout)
    assert {name: again[name] for name in found} == pytest.approx(found, rel=1e-6)
    where = (f"--workdir={run}", f"--input={test}")
    given = [json.loads(line) for line in test.read_text().splitlines()]
    ended = ok(launch(*where, program="launch.predict"))
    predicted = [json.loads(line)["labels"] for line in ended.stdout.splitlines()]
    right = np.mean([p == g["labels"] for p, g in zip(predicted, given, strict=True)])
    assert right == pytest.approx(found["accuracy"])
    ok(launch(f"--workdir={run}", f"--output={tmp_path / 'a.html'}", program="launch.report"))
    assert "By label" in (tmp_path / "a.html").read_text()
    flags = (f"--workdir={run}", "--format=huggingface", f"--output={out}")
    line = refused(launch, run, *flags, program="launch.export")
    assert "holds a model of this library's own" in line
    served = _served(launch, run, out).signatures["serving_default"]
    (name,) = served.structured_input_signature[1]
    texts = [row["text"] for row in given[:5]]
    shares = served(**{name: np.array(texts, object)})["probabilities"].numpy()
    assert [list(row) for row in shares] == [
        pytest.approx(json.loads(line)["probabilities"], abs=1e-5)
        for line in ended.stdout.splitlines()[:5]
    ]


# Bad input


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a", 3]}, "row 1: 'tokens' must be text, is 3"),
        ({"tokens": {"a": 1}}, "row 1: 'tokens' must be a list of words"),
        ({"tokens": ["a", ""]}, "row 1: 'tokens' holds an empty word"),
        ({"words": ["a"]}, "row 1 has no column 'tokens'"),
    ],
)
def test_bad_words_to_predict_are_one_line(launch, tagged, tmp_path, row, said):
    path = small_tasks.write_jsonl(tmp_path / "new.jsonl", [row])
    flags = (f"--workdir={tagged}", f"--input={path}", f"--output={tmp_path / 'out.jsonl'}")
    assert said in refused(launch, tagged, *flags, program="launch.predict")


def test_damaged_facts_of_a_run_are_one_line(launch, tagged, tmp_path):
    from sealing import reseal

    run = shutil.copytree(tagged, tmp_path / "run")
    reseal(run / "config.json", lambda v: v["derived"]["facts"].update(types=["LOC", "LOC"]))
    line = refused(launch, run, f"--workdir={run}", "--texts=a", program="launch.predict")
    assert "types must hold each name once" in line


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.task.scheme=IOB2", "IOB2"),
        ("--config.task.words=ner_tags", "config.task.tags='ner_tags' is config.task.words too"),
        ("--config.task.context=-1", "config.task.context=-1 must be between"),
        ("--config.evaluation.metric=pearson", "evaluation.metric='pearson' is not one of: loss"),
        ("--config.task.text=a", "text"),
    ],
)
def test_wrong_settings_of_a_tagger_are_one_line(launch, tagging, tmp_path, flag, said):
    assert said in refused(launch, tmp_path, *tagging.at(tmp_path / "run", flag))
