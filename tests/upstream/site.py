"""An installed package like NxDI's, with a wheel's metadata, made of a specimen of ours."""

from __future__ import annotations

import base64
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from nkifix.upstream.locate import INSIDE_SITE

SPECIMENS = Path(__file__).parent.parent / "specimens"
STOCK = (SPECIMENS / "typo_plain_branch.py").read_bytes()
FIXED = STOCK.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True").replace(b"# casual", b"# causal")
UNKNOWN = (SPECIMENS / "other_shape.py").read_bytes()
DISTRIBUTION = "neuronx_distributed_inference-0.6.10598"
LICENCE = b"                                 Apache License\n                           Version 2.0, January 2004\n"


@dataclass(frozen=True)
class Site:
    """A site-packages folder."""

    root: Path

    @property
    def kernel(self) -> Path:
        return self.root / INSIDE_SITE

    @property
    def info(self) -> Path:
        return self.root / f"{DISTRIBUTION}.dist-info"

    @property
    def record(self) -> Path:
        return self.info / "RECORD"

    def files(self) -> dict[str, bytes]:
        """Every file, less the temporary ones that a killed run may leave."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and not path.name.startswith(".nkifix-") and "__pycache__" not in path.parts
        }

    def untrue_rows(self) -> list[str]:
        """Rows of the RECORD that do not say what is there, and files that it does not have."""
        with self.record.open(newline="") as file:
            rows = {path: (digest, size) for path, digest, size in csv.reader(file)}
        found = [name for name in self.files() if name not in rows]
        for name, (digest, size) in rows.items():
            path = self.root / name
            if not path.is_file() or (digest and (digest, size) != hashed(path.read_bytes())):
                found.append(name)
        return found


def hashed(data: bytes) -> tuple[str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(data))


def make(root: Path, kernel: bytes = STOCK, *, newline: str = "\n", with_hash: bool = True) -> Site:
    """Install the package in ``root``."""
    site = Site(root)
    site.kernel.parent.mkdir(parents=True)
    site.kernel.write_bytes(kernel)
    bomb = b"raise SystemExit('upstream code was executed')\n"
    for folder in list(site.kernel.relative_to(root).parents)[:-1]:
        (root / folder / "__init__.py").write_bytes(bomb)
    site.info.mkdir()
    (site.info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: neuronx-distributed-inference\nVersion: 0.6.10598\n"
    )
    (site.info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (site.info / "INSTALLER").write_text("pip\n")
    (site.info / "LICENSE").write_bytes(LICENCE)
    rows = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        digest, size = hashed(path.read_bytes()) if with_hash or path != site.kernel else ("", "")
        rows.append(f"{name},{digest},{size}")
    rows.append(f"{site.record.relative_to(root).as_posix()},,")
    site.record.write_bytes((newline.join(rows) + newline).encode())
    return site
