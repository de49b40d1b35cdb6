"""Intervals that hold what they say, tests against values by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from cmc.evaluation import statistics, tables
from cmc.evaluation.statistics import Answers
from cmc.labels import Scheme
from cmc.metrics import score, weighted

SIMS = Scheme(has0="nonpositive_positive")
EMOTIONS = Scheme(("angry", "happy", "neutral", "sad"))


@given(st.sampled_from([SIMS, Scheme(has0="negative_nonnegative"), EMOTIONS]), st.integers(0, 2**32 - 1))
def test_weights_count_clips_as_often_as_they_say(scheme, seed):
    rng = np.random.default_rng(seed)
    count = len(scheme.classes)
    labels, said = (
        rng.integers(0, count, 20),
        np.stack([rng.integers(0, 2, 20), rng.integers(0, count, 20)], axis=1),
    )
    if not scheme.polar:
        said[:, 0] = said[:, 1]
    weights = rng.integers(0, 4, (3, 20))
    found = weighted(said, labels, weights, scheme)
    for place, often in enumerate(weights):
        drawn = np.repeat(np.arange(20), often)
        expected = score(said[drawn], labels[drawn], scheme)
        for name, values in found.items():
            assert values[place] == pytest.approx(expected[name], nan_ok=True), name


def test_clips_of_a_cluster_are_drawn_together():
    clusters = np.array(["b", "a", "b", "c", "a", "b"])
    weights = statistics.drawn(clusters, 500, np.random.default_rng(0))
    for name in "abc":
        assert (weights[:, clusters == name].T == weights[:, clusters == name][:, 0]).all()
    per_cluster = weights[:, [1, 0, 3]]
    assert (per_cluster.sum(axis=1) == 3).all() and per_cluster.mean(axis=0) == pytest.approx(
        [1, 1, 1], abs=0.15
    )


def answers(right, clusters=None, seeds=1):
    """Models that are right on some clips (model -> (seeds, clips) or (clips,) bool), of emotions."""
    said = {name: np.where(np.atleast_2d(own), 0, 1) for name, own in right.items()}
    said = {name: np.repeat(own, max(1, seeds // len(own)), axis=0) for name, own in said.items()}
    count = next(iter(said.values())).shape[1]
    return Answers(
        labels=np.zeros(count, dtype=int),
        clusters=np.arange(count).astype(str) if clusters is None else clusters,
        subsets={"test": np.ones(count, dtype=bool)},
        said={name: np.stack([own, own], axis=-1) for name, own in said.items()},
        right={name: own.mean(axis=0) < 0.5 for name, own in said.items()},
    )


def wa(found, model="cmc"):
    return found[model, "test"]["wa"]


def test_the_interval_of_independent_clips_is_the_binomial_one():
    right = np.arange(400) < 300
    found = statistics.resampled(answers({"cmc": right}), EMOTIONS, 4000, 0)
    low, high = statistics.interval(wa(found))
    exact = binom(400, 0.75).ppf([0.025, 0.975]) / 400
    assert (low, high) == pytest.approx(exact, abs=0.004)


def test_dependent_clips_and_differing_seeds_make_it_wider():
    def width(**changes):
        low, high = statistics.interval(wa(statistics.resampled(answers(**changes), EMOTIONS, 2000, 0)))
        return high - low

    right = np.arange(200) % 4 > 0
    alone = width(right={"cmc": right})
    together = np.repeat(np.arange(20) % 4 > 0, 10)  # ten clips of a speaker are all right or all wrong
    clusters = np.repeat(np.arange(20), 10).astype(str)
    assert width(right={"cmc": together}, clusters=clusters) > 2.5 * alone
    seeds = np.stack([np.arange(200) < 180, np.arange(200) < 120])
    assert width(right={"cmc": seeds}) > 2 * alone


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Speakers differ in how well they are read; a sample's interval holds the share right of all speakers."""
    rng, covered, trials = np.random.default_rng(1), 0, 300
    truth, speakers = 0.7, 40
    for _ in range(trials):
        skill = rng.beta(7, 3, speakers)
        right = rng.random((speakers, 8)) < skill[:, None]
        clusters = np.repeat(np.arange(speakers), 8).astype(str)
        found = statistics.resampled(
            answers({"cmc": right.ravel()}, clusters), EMOTIONS, 400, int(rng.integers(2**31))
        )
        low, high = statistics.interval(wa(found))
        covered += low <= truth <= high
    assert 0.91 <= covered / trials <= 0.98


def test_the_same_seed_gives_the_same_numbers():
    given_ = answers({"cmc": np.arange(50) < 30, "text": np.arange(50) < 20})
    first, again, other = (statistics.resampled(given_, EMOTIONS, 200, seed) for seed in (1, 1, 2))
    assert (wa(first) == wa(again)).all() and (wa(first) != wa(other)).any()


def test_equal_models_are_not_told_apart_and_different_ones_are():
    rng = np.random.default_rng(0)
    base = rng.random((3, 300)) < 0.8
    given_ = answers({"cmc": base, "same": base, "worse": base & (rng.random(300) < 0.8)}, seeds=3)
    scores = statistics.resampled(given_, EMOTIONS, 2000, 0)
    means = {key: 100 * values["uar"].mean() for key, values in scores.items()}
    found = statistics.compare(given_, scores, means, EMOTIONS).set_index("model")
    assert found["apart"].to_dict() == {"same": False, "worse": True}
    assert found.loc["same", ["difference", "low", "high", "p", "mcnemar_p"]].tolist() == [0, 0, 0, 1, 1]
    assert found.loc["worse", "high"] < 0 and found.loc["worse", "difference"] < 0
    assert found.loc["worse", "p_holm"] == pytest.approx(2 * found.loc["worse", "p"])
    assert (found["reference"] == "cmc").all() and (found["metric"] == "uar").all()


def test_a_difference_by_chance_is_called_one_as_rarely_as_it_says():
    rng, called, trials = np.random.default_rng(2), 0, 200
    for _ in range(trials):
        right = rng.random((2, 150)) < 0.7
        given_ = answers({"cmc": right[0], "other": right[1]})
        scores = statistics.resampled(given_, EMOTIONS, 300, int(rng.integers(2**31)))
        called += statistics.p_value(wa(scores, "other") - wa(scores)) < 0.05
    assert called / trials <= 0.09


def test_mcnemar_by_hand():
    reference, other = np.array([1, 1, 1, 1, 1, 0, 1, 0], bool), np.array([0, 0, 0, 0, 0, 1, 1, 0], bool)
    # five clips against one: 2 (C(6,0) + C(6,1)) / 2^6
    assert statistics.mcnemar(reference, other) == (5, 1, pytest.approx(2 * 7 / 64))
    assert statistics.mcnemar(reference, reference) == (0, 0, 1)


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, then never less than what came before
    assert statistics.holm(np.array([0.03, 0.01, 0.02, 0.5])) == pytest.approx([0.06, 0.04, 0.06, 0.5])
    assert statistics.holm(np.array([0.03, np.nan, 0.04])) == pytest.approx([0.06, np.nan, 0.06], nan_ok=True)
    assert statistics.holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])


def test_p_by_hand():
    assert statistics.p_value(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert statistics.p_value(np.array([1.0] * 90 + [-1.0] * 9)) == pytest.approx(2 * 10 / 100)
    assert statistics.p_value(np.zeros(99)) == 1
    assert statistics.p_value(np.array([np.nan, *[1.0] * 99])) == pytest.approx(2 / 100)


# from files


def frame(seed, clips=30):
    rng = np.random.default_rng(seed)
    own = pd.DataFrame({"clip_id": [f"c{i}" for i in range(clips)], "class": np.arange(clips) % 3})
    own["cluster"] = [f"v{i // 3}" for i in range(clips)]
    for prefix in ("logits", "pretrain_text"):
        own[[f"{prefix}_{name}" for name in SIMS.classes]] = np.eye(3)[own["class"]] + rng.normal(
            size=(clips, 3)
        )
    own[list(tables.MAJORITY)] = tables.constant([0, 0, 2], SIMS)
    return own.assign(router_text=1.0)


def test_a_table_has_intervals_and_verdicts(tmp_path):
    (tmp_path / "subsets.csv").write_text("clip_id,subset\n" + "".join(f"c{i},msc\n" for i in range(9)))
    paths, scores = [], []
    for variant, seed in (("cmc", 1), ("cmc", 2), ("other", 1), ("other", 2)):
        own = frame(seed + 10 * (variant == "other"))
        paths.append(tmp_path / f"{variant}{seed}.csv")
        own.to_csv(paths[-1], index=False)
        parts = {"msc": [f"c{i}" for i in range(9)], "msi": []}
        found = tables.score(own, parts, SIMS, variant)
        scores.append(found | {"dataset": "x", "variant": variant, "seed": seed, **SIMS.facts})
    predictions = statistics.read(paths, scores)
    assert list(predictions) == ["cmc", "other"] and len(predictions["other"]) == 2
    tested = statistics.of_table(predictions, scores, tmp_path / "subsets.csv", 300, 0)
    table = tables.table(scores, tables.published_values(), *tested).set_index(["model", "subset"])
    row = table.loc[("cmc", "test")]
    for metric in ("acc2", "f1_3"):
        assert row[f"{metric}_low"] < row[f"{metric}_mean"] < row[f"{metric}_high"]
    assert table.loc[("cmc", "msc"), ["acc2_mean", "acc2_low", "p"]].isna().all()  # nine clips
    assert np.isnan(row["p"]) and 0 < table.loc[("majority", "test"), "p"] <= 1
    shown = tables.show(table.reset_index())
    assert "vs cmc" in shown and "not told apart" in shown and "95 %" in shown
    tables.write(tested[1], tmp_path / "s.csv")
    written = pd.read_csv(tmp_path / "s.csv")
    assert list(written) == statistics.COLUMNS and written["subset"].unique().tolist() == ["test"]
    difference = table.loc[("other", "test"), "acc2_mean"] - row["acc2_mean"]
    assert written["difference"][0] == pytest.approx(difference, abs=0.011)


def test_what_seeds_say_together_counts_as_the_headline_does():
    """Of polarity the side: a neutral clip that is called negative is right."""
    logits = {"negative": [2.0, 0, 0, 1], "neutral": [0.0, 3, 0, 3], "positive": [0.0, 1, 2, 0]}
    own = pd.DataFrame({"clip_id": list("abcd"), "cluster": list("abcd"), "class": [1, 1, 2, 2]})
    own = own.assign(**{f"logits_{name}": values for name, values in logits.items()})
    own[list(tables.MAJORITY)] = tables.constant([0, 0, 2], SIMS)
    found = statistics.gather({"cmc": [own, own]}, {}, SIMS)
    assert found.right["cmc"].tolist() == [True, False, True, False]
    assert found.right["majority"].tolist() == [True, True, False, False]


def test_few_clusters_make_no_claim(tmp_path):
    """One speaker and one seed: a model that is worse on nine of ten clips is not told apart."""
    right = {"cmc": np.arange(60) < 54, "other": np.arange(60) < 6}
    means = {("cmc", "test"): 90.0, ("other", "test"): 10.0}
    for count in (1, statistics.FEWEST_CLUSTERS - 1, statistics.FEWEST_CLUSTERS):
        own = answers(right, clusters=(np.arange(60) % count).astype(str))
        scores = statistics.resampled(own, EMOTIONS, 500, 0)
        row = statistics.compare(own, scores, means, EMOTIONS).iloc[0]
        assert row["clusters"] == count
        if count < statistics.FEWEST_CLUSTERS:
            assert np.isnan([row["p"], row["p_holm"], row["low"], row["high"]]).all() and not row["apart"]
            assert np.isnan(statistics.interval(scores["cmc", "test"]["wa"])).all()
        else:
            assert row["p_holm"] < 0.05 and row["apart"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_seeds_are_drawn_with_the_variance_of_their_mean(count):
    shares = statistics.shares_of(count, 20000, np.random.default_rng(0))
    scores = np.random.default_rng(count).random(count)
    expected = scores.var(ddof=1) / count if count > 1 else 0
    assert shares.sum(axis=1) == pytest.approx(np.ones(20000))
    assert (shares @ scores).var() == pytest.approx(expected, rel=0.1, abs=1e-12)


def test_a_verdict_is_that_of_the_p_as_computed(tmp_path):
    """p of 0.053 is written as 0.0530, not rounded to 0.05 and read as worse."""
    scores = [
        {"dataset": "x", "variant": name, "seed": 1, **SIMS.facts}
        | {"models": {name: {"test": dict.fromkeys(tables.names(SIMS), 0.5) | {"n": 60}}}}
        for name in ("cmc", *"abc")
    ]
    for p, verdict in [
        (0.053, "not told apart"),
        (0.05, "not told apart"),
        (0.0499, "worse"),
        (np.nan, "too few clusters"),
    ]:
        compared = pd.DataFrame({"model": ["a"], "subset": ["test"], "difference": [-20.0], "p_holm": [p]})
        tables.write(tables.table(scores, tables.published_values(), None, compared), tmp_path / "t.csv")
        found = tables.read(tmp_path / "t.csv").set_index("model")
        assert found.loc["a", "verdict"] == verdict
        assert found.loc["a", "p"] == pytest.approx(p, nan_ok=True)
        assert verdict in tables.show(found.reset_index())


def test_predictions_of_other_clips_are_refused():
    with pytest.raises(ValueError, match="predictions of other are of other clips"):
        statistics.gather({"cmc": [frame(1)], "other": [frame(1, clips=20)]}, {}, SIMS)
