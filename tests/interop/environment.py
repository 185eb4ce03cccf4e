"""An environment of its own for each client, made once and kept."""

import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "interop"


def python_with(requirement: str) -> Path:
    """The interpreter of an environment that has exactly this requirement."""
    folder = CACHE / f"{requirement.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "installed"
    if done.exists():
        return python
    print(f"== making an environment with {requirement} (once)", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install", requirement],
        check=True,
    )
    done.touch()
    return python
