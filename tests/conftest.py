import pytest
import torch
from small_run import ONE_EPOCH, copy_project, snakemake


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The folder of a finished run of the demo, made by a copy of the project, and what the run said."""
    folder = tmp_path_factory.mktemp("demo")
    copy_project(folder)
    more = [f"results/demo/{name}.csv" for name in ("consensus", "calibration", "robustness")]
    return folder, snakemake(folder, "all", *more, config=ONE_EPOCH)


@pytest.fixture(scope="session")
def trained(demo):
    """The same folder with the demo's model, and what it read in a folder of clips by the name `own`."""
    folder, _ = demo
    own = folder / "own"
    own.mkdir()
    raw = sorted((folder / "results/demo/corpus/Raw").glob("*/*.mp4"))
    for name, clip in zip(("a.mp4", "b.mp4", "c.mp4"), raw, strict=False):
        (own / name).write_bytes(clip.read_bytes())
    (own / "a.txt").write_text("I like it\nvery much.\n")
    (own / "broken.mp4").write_bytes(raw[0].read_bytes()[:5000])
    config = ONE_EPOCH | {"predictions": {"own": {"path": "own"}}}
    snakemake(folder, "results/demo/predictions/own.csv", config=config)
    return folder
