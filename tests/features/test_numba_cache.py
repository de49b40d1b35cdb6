import subprocess
import sys

SCRIPT = """
import sys, time
from cmc.features.extractors import numba_cache
def work():
    time.sleep(0.3)
    print("compiled", flush=True)
numba_cache.compile_once("test", work)
"""


def test_one_process_compiles_and_the_others_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    running = [subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) for _ in range(4)]
    said = b"".join(process.communicate()[0] for process in running)
    assert all(process.returncode == 0 for process in running) and said.split() == [b"compiled"]


def test_work_that_failed_is_done_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    failing = SCRIPT.replace('print("compiled", flush=True)', "1 / 0")
    assert subprocess.run([sys.executable, "-c", failing], capture_output=True).returncode != 0
    assert subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True).stdout == b"compiled\n"


def test_other_code_or_another_installation_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    moved = "numba_cache.find_spec = lambda name: types.SimpleNamespace(origin='/venv2')"
    elsewhere = SCRIPT.replace("import sys, time", "import sys, time, types").replace(
        "def work", f"{moved}\ndef work"
    )
    said = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        for script in (SCRIPT, SCRIPT, elsewhere, elsewhere)
    ]
    assert said == [b"compiled\n", b"", b"compiled\n", b""]
