"""What cannot be printed ends nothing: readers that leave, full disks, streams that are closed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparsekit.system.printing import mask_tracebacks
from tests.status.sweeps import Asked, started
from tests.waiting import PATIENCE

TALKATIVE = """
import os, sys
from sparsekit.system.streams import outlive_readers
outlive_readers()
for number in range(20_000):
    print("out", number)
    print("err", number, file=sys.stderr)
print("\\N{SNOWMAN}", sys.stdout.isatty(), sys.stderr.isatty())
sys.stdout.flush()
sys.stdout.buffer.write(b"bytes")
with open("done", "w") as file:
    file.write(str(file.fileno()))
    assert file.fileno() > 2, "what is printed would land in this file"
"""
PRINTING = """
import sys
from sparsekit.system.streams import printed
def main():
    print("line\\n" * 100_000)
    return int(sys.argv[1])
sys.exit(printed(main))
"""


def shell(script: str, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`script` with $PROGRAM for a Python program, by a shell that fails with its first command."""
    (folder / "program.py").write_text(program)
    environment = {
        "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]),
        "PROGRAM": f"{sys.executable} program.py",
    }  # fmt: skip
    command = ["bash", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "streams",
    [
        "| head -n 1",
        "2>&1 | head -n 1",
        "2>&1 >/dev/null | head -n 1",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>&1",
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
    ],
)
def test_a_program_goes_on_whatever_becomes_of_its_streams(streams: str, tmp_path: Path) -> None:
    done = shell(f"$PROGRAM {streams}", TALKATIVE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("streams", "warning"),
    [
        ("| true", "warning: nobody reads any more what is printed"),
        (">/dev/full", "warning: what is printed is lost: No space left on device"),
        (">/dev/null", ""),
    ],
)
def test_what_is_lost_is_told_once(streams: str, warning: str, tmp_path: Path) -> None:
    quiet = TALKATIVE.replace('    print("err", number, file=sys.stderr)\n', "")
    assert shell(f"$PROGRAM {streams}", quiet, tmp_path).stderr.strip() == warning


def test_what_is_printed_arrives_whole(tmp_path: Path) -> None:
    done = shell("$PROGRAM", TALKATIVE, tmp_path)
    assert done.stdout.splitlines()[:20_000] == [f"out {number}" for number in range(20_000)]
    assert done.stdout.endswith("\u2603 False False\nbytes")
    assert done.stderr.count("\n") == 20_000
    assert "\\u2603 False" in shell("PYTHONIOENCODING=ascii $PROGRAM", TALKATIVE, tmp_path).stdout


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("$PROGRAM 0 >/dev/null", 0),
        ("$PROGRAM 2 >/dev/null", 2),
        ("$PROGRAM 0 >/dev/full", 1),
        ("$PROGRAM 2 >/dev/full", 2),
        ("$PROGRAM 0 | head -n 1", 128 + signal.SIGPIPE),
        ("$PROGRAM 0 >&-", 0),
    ],
)
def test_a_command_that_only_prints_ends_with_its_reader(
    script: str, status: int, tmp_path: Path
) -> None:
    done = shell(script, PRINTING, tmp_path)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("what is printed is lost" in done.stderr) == ("full" in script)


@pytest.mark.parametrize("cluster", ["inline", "local"])
def test_runs_that_nobody_listens_to_are_done(cluster: str, tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    process = started(["sparsekit.run", *asked.typed(f"cluster={cluster}")])
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(PATIENCE) == 0
    assert asked.seen()["counts"] == {"done": 2}


def test_unexpected_errors_are_printed_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "2f1c90ab34de")
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    mask_tracebacks()
    try:
        raise RuntimeError("asked https://me:pw@host with 2f1c90ab34de")
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("RuntimeError: asked https://me:<masked>@host with <masked>\n")
