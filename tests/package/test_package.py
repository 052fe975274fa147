# SPDX-License-Identifier: Apache-2.0
"""What is in the wheel and in the sdist, where their version comes from, and what they do to an environment."""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from package.building import ROOT, UV, Built, build

GIT = ["git", "-c", "user.name=A packager", "-c", "user.email=packager@example.org"]


def test_twine_would_upload_both(built: Built) -> None:
    subprocess.run([UV, "tool", "run", "twine@7", "check", "--strict", built.sdist, built.wheel], check=True)


def test_sdist_is_the_repository(built: Built) -> None:
    listed = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    known = set(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")) - {""}
    there = {each for each in known if (ROOT / each).exists()}
    assert built.files_of_sdist() == there | {"PKG-INFO"}
    assert any(each.startswith("releasenotes/notes/") for each in there)


def test_wheel_is_the_package_without_its_lab_and_the_licence(built: Built) -> None:
    files = {str(each.relative_to(ROOT / "src")) for each in (ROOT / "src").rglob("*") if each.is_file()}
    source = {each for each in files if not each.startswith("dedangle/lab/")}
    assert "dedangle/lab/config.py" in files - source
    info = f"dedangle-{built.version}.dist-info"
    metadata = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert built.files_of_wheel() == {each for each in source if "__pycache__" not in each} | metadata
    assert {"dedangle/py.typed", "dedangle/report/page/page.html"} <= source


def test_version_is_that_of_the_tag(tmp_path: Path) -> None:
    release, archive = tmp_path / "release", tmp_path / "archive"
    subprocess.run([*GIT, "clone", "--quiet", ROOT, release], check=True)
    subprocess.run([*GIT, "-C", release, "tag", "--annotate", "7.8.9", "--message", "as a release is made"], check=True)
    from_tag = build(release, tmp_path / "from-tag")
    assert from_tag.version == "7.8.9"

    with tarfile.open(from_tag.sdist) as unpacked:
        unpacked.extractall(tmp_path, filter="data")
    assert build(tmp_path / "dedangle-7.8.9", tmp_path / "from-sdist").version == "7.8.9"

    packed = tmp_path / "archive.tar"
    subprocess.run([*GIT, "-C", release, "archive", "--prefix=archive/", "--output", packed, "HEAD"], check=True)
    with tarfile.open(packed) as unpacked:
        unpacked.extractall(tmp_path, filter="data")
    assert build(archive, tmp_path / "from-archive").version == "7.8.9"

    # A mere copy knows nothing of tags.
    (archive / ".git_archival.txt").unlink()
    assert build(archive, tmp_path / "from-copy").version == "0.1.dev0"


def test_wheel_is_one_package_more_beside_nova(built: Built) -> None:
    """As the releases' own environments prove it in make test-releases, by what would be done to ours."""
    command = [UV, "pip", "install", "--dry-run", "--python", sys.executable, "--no-config", built.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    changes = [line for line in done.stderr.splitlines() if line.startswith((" + ", " - ", " ~ "))]
    assert sum(each.startswith(" + dedangle @ ") for each in changes) == 1
    # The other is our own editable installation, which goes.
    assert all(each[3:].startswith("dedangle") for each in changes)


def test_extras_are_those_of_tooz(installed: Path) -> None:
    """One that is not there would install nothing, and say so in a warning only."""
    (ours,) = importlib.metadata.distributions(path=[str(installed)])
    wanted = {each.split("[")[1].split("]")[0] for each in ours.requires or () if each.startswith("tooz[")}
    assert len(wanted) == 2
    assert wanted <= set(importlib.metadata.metadata("tooz").get_all("Provides-Extra") or ())


def test_versions_are_told_without_importing_what_they_are_of(built: Built, installed: Path) -> None:
    done = _run(installed, "--version")
    nova, client = importlib.metadata.version("nova"), importlib.metadata.version("keystoneauth1")
    assert " ".join(done.split("\n\n")[0].split()) == (
        f"dedangle {built.version} (Nova {nova}, keystoneauth1 {client} for Cinder)"
    )


def test_without_nova_it_says_so(built: Built, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, built.wheel], check=True)
    dedangle = python.with_name("dedangle")
    version = subprocess.run([dedangle, "--version"], capture_output=True, text=True, check=True)
    assert " (Nova is not installed, keystoneauth1 " in " ".join(version.stdout.split())
    audit = subprocess.run([dedangle, "audit"], capture_output=True, text=True, check=False)
    assert (audit.returncode, audit.stdout) == (2, "")
    assert " Nova is not installed in this Python environment " in audit.stderr
    assert audit.stderr.count("\n") == 1


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_nothing_heavy_is_imported_for_a_word(installed: Path, argument: str) -> None:
    said = "import atexit, sys; atexit.register(lambda: print('modules:', *sys.modules))"
    done = _run(installed, argument, before=said)
    modules = done.partition("modules: ")[2].split()
    assert "dedangle.cli.main" in modules
    assert not {"nova", "sqlalchemy", "keystoneauth1", "oslo_config", "oslo_log", "jinja2", "tooz"} & set(modules)


def test_page_of_a_report_is_in_the_wheel(installed: Path) -> None:
    program = (
        "from dedangle.core.run import Run; from dedangle.report import html; from datetime import datetime, timezone; "
        "print(html.page(Run(run_id='r'), everything=False, command='c', "
        "at=datetime.now(timezone.utc))); print(html.__file__)"
    )
    done = _python(installed, program)
    assert done.startswith("<!DOCTYPE html>")
    assert str(installed) in done


def _run(installed: Path, argument: str, before: str = "pass") -> str:
    return _python(
        installed,
        f"{before}; import sys; sys.argv = ['dedangle', {argument!r}]; "
        "from dedangle.cli.main import main; sys.exit(main())",
    )


def _python(installed: Path, program: str) -> str:
    # Before the editable installation of the environment that runs the tests.
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout
