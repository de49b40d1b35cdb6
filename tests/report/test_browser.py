"""The page in a browser without a network: pictures are drawn, filters count, nothing is said or asked for."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from test_report import HOSTILE, fake_predictions, fake_results

from cmc.report import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
IDS = ['it\'s "quoted"', "\u202eright to left", "c2"]
REPORT = """
addEventListener("error", (event) => { document.title = "broken: " + event.message; });
drawAll().then(() => {
  const tell = {};
  form.elements.error.value = "wrong"; form.dispatchEvent(new Event("input"));
  tell.wrong = count.textContent;
  form.elements.subset.value = "msi"; form.dispatchEvent(new Event("input"));
  tell.both = count.textContent;
  form.reset(); update();
  form.elements.search.value = "SCRIPT"; form.dispatchEvent(new Event("input"));
  tell.search = count.textContent;
  form.reset(); update();
  const heads = list.querySelectorAll("summary");
  heads[0].focus();
  heads[0].dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", bubbles: true}));
  tell.second = document.activeElement === heads[1];
  tell.requests = performance.getEntriesByType("resource").length;
  tell.bodies = all.clips.map((clip) => body(clip).querySelectorAll("script, img").length).join("");
  location.hash = "#clip=" + encodeURIComponent(IDS);
  setTimeout(() => {
    tell.opened = list.querySelector("details[open]").dataset.clip === IDS;
    const told = document.createElement("pre");
    told.id = "told"; told.textContent = JSON.stringify(tell);
    document.body.append(told);
  }, 300);
});
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the browser made of a page of hostile clips, and what it said."""
    clips = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(12)], "split": "test", "text": "said", "label": 1.0}
    )
    predictions = [fake_predictions(1), fake_predictions(2)]
    for frame in (clips, *predictions):
        frame.loc[:2, "clip_id"] = IDS
    clips.loc[0, "text"] = HOSTILE
    clips.loc[1, "text"] = "long " * 1000
    results = fake_results(clips=clips, predictions=predictions, subsets={"msc": ["c3"], "msi": IDS})
    html = page.render("demo", results)
    ids = IDS[1].encode("unicode_escape").decode()
    program = REPORT.replace("IDS", f'"{ids}"')
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(html + f"<script>{program}</script>", encoding="utf-8")
    said = subprocess.run(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--virtual-time-budget=20000", "--proxy-server=127.0.0.1:9", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return said.stdout, said.stderr, results


def test_it_is_drawn_and_nothing_is_said(seen):
    dom, said, _ = seen
    names = re.findall(r'data-chart="([^"]+)"', dom)
    assert len(names) == 6 and len(re.findall(r'data-done="yes"', dom)) == len(names)
    for part in dom.split("data-chart=")[1:]:
        assert part.split("</figure>")[0].count("<path") > 3
    assert "CONSOLE" not in said
    assert "<title>demo" in dom


def test_filters_count_and_keys_move(seen):
    dom, _, results = seen
    told = re.search(r'<pre id="told">(.*?)</pre>', dom)[1]
    right = sum((own["prediction"] == own["class"]).astype(int) for own in results.predictions)
    wrong = right == 0
    assert f'"wrong":"{wrong.sum()} of 12 clips"' in told
    assert f'"both":"{wrong[:3].sum()} of 12 clips"' in told
    assert '"search":"1 of 12 clips"' in told and '"second":true' in told and '"requests":0' in told
    assert '"opened":true' in told and '"bodies":"000000000000"' in told
