"""A data set judged before anything runs: all that label file, folders, config and installed packages tell."""

import importlib.util
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cmc import hub
from cmc.corpus import checks, manifest
from cmc.corpus.checks import Finding
from cmc.features import extractors
from cmc.planning.config import PlanError
from cmc.planning.data import DEMO, Data, file_of, marked
from cmc.planning.variants import TABLE, Variants

SHOWN = 3  # variants in a message
PICKLE = b"\x80"  # with which each begins, of protocol 2 or higher


def stop(found: list[Finding], dataset: str) -> None:
    """Raise PlanError with all that is wrong with a data set, if anything is."""
    if errors := [finding for finding in found if finding.level == "error"]:
        lines = "\n".join(f"  - {finding.text}" for finding in errors)
        raise PlanError(f"The data set {dataset} can't be run:\n{lines}")


def warnings(found: list[Finding], dataset: str) -> str:
    """What should make one wary of a data set, a line each; "" if nothing does."""
    return "".join(f"{dataset}: {finding.text}\n" for finding in found if finding.level == "warning")


def findings(
    config: Mapping[str, Any],
    data: Data,
    variants: Variants,
    dataset: str,
    tables: Collection[str] = (TABLE,),
) -> list[Finding]:
    """All that can be known of a data set before any job, errors first.

    Reads its label file and lists its folders; opens no video. `tables` are those that are wanted of it.
    """
    found = [
        *gpu(config["device"]),
        *encoders(data, dataset, config["download"]),
        *transcriber(data, dataset, config["download"]),
        *files_read(data, dataset),
        *models_read(data, dataset),
        *networks(config, variants, dataset, tables),
        *checks.extras(
            (name, extractors.declared(name, "NEEDS")) for name, _ in data.extracted(dataset).values()
        ),
    ]
    if data.setting(dataset, "source") == "features":
        found += feature_file(data, variants, dataset, tables)
    elif dataset != DEMO:
        found += label_file(config, data, dataset)
    return sorted(found, key=lambda finding: ("error", "warning", "good").index(finding.level))


def gpu(device: str) -> list[Finding]:
    """A GPU that is asked for, of a PyTorch that can use none. Whether there is one is not asked: a cluster's jobs
    are planned where there need be none."""
    spec = importlib.util.find_spec("torch")  # looked at, not imported: that takes seconds
    places = (spec.submodule_search_locations or []) if spec else []
    versions = [Path(place, "version.py") for place in places]
    if not device.startswith("cuda") or not versions or not versions[0].is_file():
        return []
    text = versions[0].read_text(encoding="utf-8")
    if not all(re.search(rf"^{kind}\b.*= None$", text, re.MULTILINE) for kind in ("cuda", "hip")):
        return []
    return [
        Finding(
            "error",
            f"device is {device}, but the installed PyTorch was built without CUDA: set device to auto or cpu, or"
            " install PyTorch with CUDA (pip install --force-reinstall torch)",
        )
    ]


def encoders(data: Data, dataset: str, download: bool) -> list[Finding]:
    """Encoders that are not here, or can't be loaded."""
    found = []
    for modality, encoder in data.encoders_of(dataset).items():
        place = f"datasets.{dataset}.text_encoder" if modality == "text" else f"features.{modality}"
        try:
            hub.resolve(encoder)
        except FileNotFoundError as error:
            if download:
                found.append(Finding("good", f"{modality} encoder: {encoder}, to be fetched"))
            else:
                found.append(Finding("error", f"it lacks its {modality} encoder ({place}): {error}"))
        else:
            if problem := hub.problem(encoder):
                found.append(Finding("error", f"{modality} encoder ({place}): {problem}"))
            else:
                found.append(Finding("good", f"{modality} encoder: {encoder}"))
    return found


def transcriber(data: Data, dataset: str, download: bool) -> list[Finding]:
    """The model that is to write down what is said, if it is not here."""
    if not data.transcribed(dataset):
        return []
    model = data.setting(dataset, "transcribe")
    try:
        hub.resolve(model)
    except FileNotFoundError as error:
        if download:
            return [Finding("good", f"transcribed by: {model}, to be fetched")]
        return [
            Finding("error", f"it lacks the model that transcribes (datasets.{dataset}.transcribe): {error}")
        ]
    if (kind := hub.kind(model)) != "whisper":
        return [
            Finding(
                "error",
                f"{model} (datasets.{dataset}.transcribe) is a model of the kind {kind}: give one of Whisper's",
            )
        ]
    return [Finding("good", f"transcribed by: {model}")]


def files_read(data: Data, dataset: str) -> list[Finding]:
    """Folders of files that other programs wrote, which extractors read, and that are not there."""
    found = []
    for modality, (name, _) in data.extracted(dataset).items():
        folder = data.folder_read(dataset, modality)
        if folder and not folder.is_dir():
            suffix = extractors.declared(name, "READS")["suffix"].lstrip(".")
            found.append(
                Finding(
                    "error",
                    f"it lacks the files that {name} reads: looked for"
                    f" {folder.resolve()}/<video>/<clip>.{suffix}.\n"
                    f"    Put them there, or set features.{modality}.{name}.folder to where they are.",
                )
            )
    return found


def models_read(data: Data, dataset: str) -> list[Finding]:
    """Models in files that are set, and that are not there."""
    return [
        Finding("error", f"it lacks features.{modality}.{name}.{key}: there is no file {own[key]}")
        for modality, (name, own) in data.extracted(dataset).items()
        for key in marked(name, "file")
        if own[key] and not Path(own[key]).is_file()
    ]


def networks(
    config: Mapping[str, Any], variants: Variants, dataset: str, tables: Collection[str]
) -> list[Finding]:
    """Variants of some tables that can't be built as they are set."""
    named = dict.fromkeys(variant for table in tables for variant in config["tables"][table])
    found = []
    for variant in named:
        if variant in config["variants"]:
            try:
                variants.check(dataset, variant)
            except PlanError as mistake:
                found.append(Finding("error", str(mistake)))
    return found


def clips_to_read(config: Mapping[str, Any]) -> list[Finding]:
    """What is to be predicted, and is not there."""
    return [
        Finding("error", f"predictions.{name}.path: there is no {Path(own['path']).expanduser().absolute()}")
        for name, own in config["predictions"].items()
        if not Path(own["path"]).expanduser().exists()
    ]


def label_file(config: Mapping[str, Any], data: Data, dataset: str) -> list[Finding]:
    """What the label file and the folders of videos tell."""
    root = data.root(dataset)
    if not manifest.label_file(root):
        looked = f"looked for {' or '.join(manifest.LABEL_FILES)} in {root.resolve()}"
        looked = f"{looked}, beside Raw/<video>/<clip>.mp4; {checks.instead(root)}"
        return [missing(data, dataset, "label file", looked, "root")]
    reads_videos = any(
        data.folder_read(dataset, modality) is None
        for modality in data.extracted(dataset)
        if modality != "text"
    )
    try:
        return checks.one_label_file(root) + checks.corpus(
            data.manifest(dataset),
            root=root,
            rules=manifest.Rules(**data.rules(dataset)),
            has0=data.setting(dataset, "has0"),
            max_share=config["quarantine"]["max_share"],
            unimodal_labels=data.setting(dataset, "unimodal_labels"),
            one_sided_labels=data.setting(dataset, "one_sided_labels", False),
            where=(lambda clip: file_of(data.source(dataset, clip))) if reads_videos else None,
        )
    except manifest.ManifestError as error:
        return [Finding("error", str(error))]


def feature_file(data: Data, variants: Variants, dataset: str, tables: Collection[str]) -> list[Finding]:
    """Whether an official feature file is there, and of a text encoder that can be finetuned."""
    path = data.features_file(dataset)
    if not path.is_file():
        return [missing(data, dataset, "feature file", f"looked for {path.resolve()}", "features_file")]
    with open(path, "rb") as file:
        if file.read(1) != PICKLE:
            text = f"{path} is no official feature file: expected a pickle (.pkl), as MMSA publishes them"
            return [Finding("error", f"{text}; see docs/datasets.md")]
    found = [Finding("good", f"feature file: {path}, {path.stat().st_size / 1e6:.0f} MB")]
    encoder, training = data.setting(dataset, "text_encoder"), variants.trains_text(dataset, tables)
    try:
        width, vocabulary = hub.width(encoder), hub.vocabulary(encoder)
    except FileNotFoundError:
        return found  # told already
    from cmc.exchange import official  # brings pandas, which other plans need not wait for

    in_file = official.text_width(path)
    if training and width and vocabulary and in_file:
        if misfit := hub.unfit(encoder, width, vocabulary, in_file):
            by = ", ".join(training[:SHOWN])
            found.append(Finding("error", f"{misfit}\n    It is to be finetuned, by {by}."))
    return found


def missing(data: Data, dataset: str, what: str, looked: str, setting: str) -> Finding:
    """A file that is not there, where it was looked for, how one gets it and what to set."""
    obtain = data.setting(dataset, "obtain")
    lines = [f"it lacks its {what}: {looked}."] + [f"    {obtain}."] * bool(obtain)
    lines.append(f"    Put it there, or set datasets.{dataset}.{setting} to where it is.")
    return Finding("error", "\n".join(lines))
