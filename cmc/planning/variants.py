"""What a variant of the method, or a point of the tuning grid, is on a data set: its settings, its stage 1."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cmc.planning import config as configs
from cmc.planning.baselines import TRAINED, Baselines
from cmc.planning.config import PlanError, merged, nested
from cmc.planning.data import MODALITIES, Data
from cmc.planning.grid import STAGE2_MODEL, TUNED, Grid, of_stage1, variant_pattern

EXPERIMENTS = ("significance", "calibration", "consensus", "robustness", "cost")
TABLE, ABLATION, BASELINES = "table", "ablation", "baselines"  # the headline one; parts of the method; others
COMPARED = (TABLE, ABLATION, BASELINES)  # whose models the main variant is tested against


class Variants:
    """The variants of a checked config.

    Attributes
    ----------
    grid : Grid
        Its points are variants too, as is the best of them, by the names `TUNED`.
    baselines : Baselines
        Which tables may name beside variants.
    main : str
        The variant of the unimodal rows and the report: the first in `tables.table`.

    Raises
    ------
    PlanError
        If the config names variants that there are not, or two things alike.
    """

    def __init__(self, config: Mapping[str, Any], data: Data) -> None:
        self._config, self._data = config, data
        self.grid = Grid(config["tuning"])
        self.baselines = Baselines(config)
        self.main: str = config["tables"][TABLE][0]
        points, variants = {*self.grid.points, *self.grid.stage1}, set(config["variants"])
        mentioned = {
            f"tables.{table}": set(names) - {*TUNED, *self.grid.points, *self.baselines.names}
            for table, names in config["tables"].items()
        }
        mentioned |= {
            f"datasets.{d}.variants": set(own.get("variants", {})) for d, own in config["datasets"].items()
        }
        mentioned |= {"tuning.variant": {config["tuning"]["variant"]}}
        configs.refuse(
            f"{place} names unknown variants: {', '.join(sorted(unknown))}; there are {self.known}"
            for place, names in mentioned.items()
            if (unknown := names - variants)
        )
        if self.main not in variants:
            configs.refuse([f"tables.table: its first variant can't be {self.main}; put it second"])
        if both := set(self.baselines.folders) & (variants | points):
            configs.refuse([f"baselines: {min(both)} is the name of a variant"])
        if both := points & variants:
            configs.refuse([f"variants: {min(both)} is the name of a point of tuning.grid"])
        # each is asked for every job of a plan
        self.settings = lru_cache(maxsize=None)(self._settings)
        self.stage1 = lru_cache(maxsize=None)(self._stage1)
        self.owners = lru_cache(maxsize=None)(self._owners)

    @cached_property
    def known(self) -> str:
        """The names of all variants and baselines, for people."""
        return ", ".join([*sorted(self._config["variants"]), *TUNED, *self.baselines.names])

    @cached_property
    def pattern(self) -> str:
        """Regular expression of what has a folder of its own: not all names, which would make matches slow."""
        others = "|".join(map(re.escape, [*TUNED, *self.baselines.folders]))
        return rf"(?!({others})/|from_){variant_pattern()}"

    def _settings(self, section: str, dataset: str, variant: str) -> dict[str, Any]:
        """The settings of `model`, `pretrain` or `finetune` for a data set and a variant, or a point."""
        config = self._config
        own, point = config["datasets"][dataset], self.grid.points.get(variant, self.grid.stage1.get(variant))
        if point is not None or variant in TUNED:
            variant = config["tuning"]["variant"]
        if variant not in config["variants"]:
            raise PlanError(
                f"There is no variant {variant}; there are {self.known}, and points of tuning.grid"
            )
        layers = (
            own,
            config["variants"][variant],
            own.get("variants", {}).get(variant, {}),
            nested(point or {}),
        )
        return merged(config[section], *(layer.get(section, {}) for layer in layers))

    def of_table(self, dataset: str, table: str) -> list[str]:
        """The variants and baselines of a table that a data set can have: some need unimodal labels, all
        modalities, or labels that are numbers."""
        annotated, whole = (
            self._data.annotated(dataset),
            len(self._data.features_of(dataset)) == len(MODALITIES),
        )
        named, found = self._data.class_names(dataset) is not None, []
        for variant in self._config["tables"][table]:
            if variant in self.baselines.names:
                fits = whole or self.baselines.kind(variant) != TRAINED
                fits &= not (named and self.baselines.regresses(dataset, variant))
            else:
                fits = annotated or not self.needs_annotation(dataset, variant)
            found += [variant] * fits
        return found

    def compared(self, dataset: str) -> list[str]:
        """The variants that the main one is tested against: all of the headline table and the ablations."""
        known = (table for table in COMPARED if table in self._config["tables"])
        return list(dict.fromkeys(variant for table in known for variant in self.of_table(dataset, table)))

    def costed(self, dataset: str) -> list[str]:
        """Those of them whose cost is measured: variants and trained baselines, not the best of a grid, which is
        another's training."""
        own = self.baselines
        trained = {n for n in own.names if own.kind(n) == TRAINED and not own.points(dataset, n)}
        left_out = {*own.names, *TUNED} - trained
        return [variant for variant in self.compared(dataset) if variant not in left_out]

    def baseline_sources(self, dataset: str, name: str, seed: int | str) -> list[str]:
        """What the evaluation of a baseline reads: checkpoints, of all points if it has a grid, predictions of the
        main variant, or nothing."""
        kind = self.baselines.kind(name)
        if kind == TRAINED:
            folders = self.baselines.points(dataset, name) or [name]
            return [path for folder in folders for path in self.baseline_checkpoints(dataset, folder, [seed])]
        if kind == "late_average":
            folder = f"results/{dataset}/{self.main}/seed{seed}"
            return [f"{folder}/predictions.csv", f"{folder}/validation.csv"]
        return []

    def baseline_checkpoints(self, dataset: str, name: str, seeds: Iterable[int | str]) -> list[str]:
        """Paths of the checkpoints of a baseline, or a point of its grid, of all runs of some seeds, in order."""
        runs = [run for seed in seeds for run in self._data.runs(dataset, seed)]
        return [f"results/{dataset}/{name}/{run}/baseline.safetensors" for run in runs]

    def baseline_points(self, dataset: str, name: str, seeds: Iterable[int]) -> list[str]:
        """What training tells of each point of a baseline's grid and each seed; PlanError if it has none, or the
        data set has folds."""
        if not (points := self.baselines.points(dataset, name)):
            raise PlanError(f"baselines.{name} of {dataset} has no grid to choose from")
        self.tuned_by(dataset)
        return [f"results/{dataset}/{point}/seed{seed}/baseline.json" for point in points for seed in seeds]

    def of_folds(self, dataset: str) -> list[str]:
        """The variants whose folds are shown: those of the headline table; PlanError if there are no folds."""
        if not self._data.setting(dataset, "split"):
            raise PlanError(f"{dataset} has no folds: its label file says what is tested (mode)")
        return self.of_table(dataset, TABLE)

    def needs_annotation(self, dataset: str, variant: str) -> bool:
        """Whether a variant, or any point for the best of them, is trained on annotated unimodal labels."""
        return any(
            self.settings(stage, dataset, one)["labels"] == "annotated"
            for stage in ("pretrain", "finetune")
            for one in (self.grid.points if variant in TUNED else [variant])
        )

    def trains_text(self, dataset: str, tables: Collection[str] = (TABLE,)) -> list[str]:
        """The variants of some tables in which a data set's text encoder is finetuned, in either stage."""
        named = {variant for table in tables for variant in self.of_table(dataset, table)}
        return [variant for variant in sorted(named - set(TUNED)) if self._trains_text(dataset, variant)]

    def _trains_text(self, dataset: str, variant: str) -> bool:
        if variant in self.baselines.names:
            return bool(self.baselines.settings(dataset, variant).get("train_text_encoder"))
        stages = (self.settings(stage, dataset, variant) for stage in ("pretrain", "finetune"))
        return any(own["train_text_encoder"] for own in stages)

    def check(self, dataset: str, variant: str) -> None:
        """Raise PlanError if there can be no network of a variant's settings."""
        model = self.settings("model", dataset, variant)
        if model["dim"] % model["heads"]:
            raise PlanError(
                f"The variant {variant} of {dataset} can't be trained: its dim ({model['dim']}) must be a multiple"
                f" of heads ({model['heads']})"
            )

    def _stage1(self, dataset: str, variant: str) -> dict[str, Any]:
        """All that stage 1 depends on, but for its data and seed."""
        self.check(dataset, variant)
        own, model = self._config["datasets"][dataset], self.settings("model", dataset, variant)
        return {
            "model": {
                key: value for key, value in model.items() if key not in ("mask_padding", *STAGE2_MODEL)
            },
            "mask_padding": model["mask_padding"],
            "settings": self.settings("pretrain", dataset, variant),
            "has0": own.get("has0"),
            "text_encoder": own["text_encoder"],
        }

    def checkpoints(
        self, dataset: str, variant: str, seeds: Iterable[int | str], stage: str = "finetune"
    ) -> list[str]:
        """Paths of a variant's checkpoints of stage 1 (`pretrain`) or 2, of all runs of some seeds, in order."""
        runs = [run for seed in seeds for run in self._data.runs(dataset, seed)]
        if stage == "pretrain":
            return [self.pretrained(dataset, variant, run) for run in runs]
        return [f"results/{dataset}/{variant}/{run}/finetune.safetensors" for run in runs]

    def pair(self, trained: str, tested: str) -> list[str]:
        """Two data sets, of which one's models are to read the other.

        Raises
        ------
        PlanError
            They are of other languages, text encoders, labels, or in folds.
        """
        for key in ("language", "text_encoder", "classes", "has0"):
            first, second = (
                self._data.class_names(name) if key == "classes" else self._data.setting(name, key)
                for name in (trained, tested)
            )
            if first != second:
                raise PlanError(
                    f"Models of {trained} can't be tested on {tested}: {key} is {first} there and {second} here"
                )
        if any(self._data.setting(name, "split") for name in (trained, tested)):
            raise PlanError(f"Models of {trained} can't be tested on {tested}: folds have no one test split")
        return [trained, tested]

    def products(self, dataset: str) -> list[str]:
        """All that there is to be known of a data set without tuning."""
        tables = [
            name for name in self._config["tables"] if not set(self._config["tables"][name]) & set(TUNED)
        ]
        names = [f"{table}.{kind}" for table in tables for kind in ("csv", "tex", "md")]
        names += [f"{name}.csv" for name in EXPERIMENTS]
        names += ["folds.csv"] if self._data.setting(dataset, "split") else []
        return [*names, "summary.md", "report.html", "figures", "provenance.json"]

    def tuned_by(self, dataset: str) -> str | None:
        """The metric that points of the grid are chosen by, None for the headline one.

        Raises
        ------
        PlanError
            The data set has no such metric, or no split to choose by.
        """
        if self._data.setting(dataset, "split"):
            raise PlanError(
                f"{dataset} is divided into folds: what is tuned on one of them has seen what another"
                " tests. Tune on a data set with a split of its own (mode), and set what was found"
            )
        by, named = self._config["tuning"]["by"], self._data.class_names(dataset) is not None
        if by is not None and named != (by not in ("acc2", "f1")):
            raise PlanError(
                f"tuning.by is {by}, which {dataset} does not have: choose"
                f" {'uar, wa, macro_f1 or weighted_f1' if named else 'acc2 or f1'}, or null"
            )
        return by

    def stage2(self, dataset: str, variant: str) -> dict[str, Any]:
        """All that stage 2 depends on, but for its data and stage 1."""
        model = {key: self.settings("model", dataset, variant)[key] for key in STAGE2_MODEL}
        # at most all the experts that there are
        model["top_k"] = min(model["top_k"], len(self._data.features_of(dataset)))
        return {"model": model, "settings": self.settings("finetune", dataset, variant)}

    def _owners(self, dataset: str) -> dict[str, str]:
        """Whose stage 1 each variant starts from: that of the main variant or the first by name of those alike."""
        # sorted, not as they stand: the order of keys is no setting
        ordered = sorted(self._config["variants"], key=lambda variant: (variant != self.main, variant))
        first: dict[str, str] = {}
        return {v: first.setdefault(json.dumps(self.stage1(dataset, v)), v) for v in ordered}

    def pretrained(self, dataset: str, variant: str, run: str) -> str:
        """Path of stage 1's checkpoint for a run of a variant or a point of the grid."""
        if variant in self.grid.points:
            # a name that neither the other points nor variants change
            part = of_stage1(self.grid.points[variant])
            variant = self.grid.name(part) or self._config["tuning"]["variant"]
        owner = self.owners(dataset).get(variant, variant)
        return f"results/{dataset}/{owner}/{run}/pretrain.safetensors"


def benchmarks(checkpoints: Iterable[str]) -> list[str]:
    """Where Snakemake writes what the jobs of these checkpoints cost."""
    found = []
    for path in checkpoints:
        results, dataset, owner, run, file = path.split("/")
        found.append(f"{results}/{dataset}/benchmarks/{Path(file).stem}-{owner}-{run}.tsv")
    return found
