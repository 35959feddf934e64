"""Read pip-audit's JSON from standard input, and end as scripts/audit says; `--reachable` asks whether PyPI answers."""

import json
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACCEPTED = Path(__file__).with_name("audit_accepted.txt")
CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
TIMEOUT = 5.0  # seconds
VULNERABLE, UNKNOWN = 1, 3
SHOWN = 5


def is_reachable() -> bool:
    """Whether PyPI answers with advisories, asked as pip-audit asks, for one package; mirrors as a rule have none."""
    pins = [line.strip() for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line]
    name, _, version = next(pin for pin in pins if pin.startswith("numpy==")).partition("==")
    try:
        with urllib.request.urlopen(f"https://pypi.org/pypi/{name}/{version}/json", timeout=TIMEOUT) as answer:
            return "vulnerabilities" in json.load(answer)
    except (OSError, ValueError):
        return False


def accepted(text: str) -> dict[str, str]:
    """Return ID -> reason; `ValueError` for a line without a reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.partition(" ") for line in lines]
    if without := [identifier for identifier, _, reason in pairs if not reason.strip()]:
        raise ValueError(f"{ACCEPTED.name}: {without[0]} is accepted without a reason")
    return {identifier: reason.strip() for identifier, _, reason in pairs}


def judge(report: Mapping[str, Any], known: Mapping[str, str]) -> tuple[int, list[str]]:
    """Return the exit status and what to say of pip-audit's report."""
    packages = report.get("dependencies", [])
    lines, vulnerable = [], False
    for package in packages:
        for entry in package.get("vulns", ()):
            names = {entry["id"], *entry.get("aliases", ())}
            reason = next((known[name] for name in names if name in known), None)
            vulnerable |= reason is None
            fixed = ", ".join(entry.get("fix_versions", ())) or "no version"
            what = f"accepted: {reason}" if reason else f"VULNERABLE; fixed in {fixed}"
            lines.append(f"{package['name']} {package['version']}: {entry['id']}: {what}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        named = ", ".join([*skipped[:SHOWN], *(["..."] if len(skipped) > SHOWN else [])]) or "no report"
        lines.append(f"NOT AUDITED: {len(skipped)} of {len(packages)} packages: {named}")
    lines.append(f"{len(packages) - len(skipped)} packages were looked up")
    return VULNERABLE if vulnerable else UNKNOWN if skipped or not packages else 0, lines


def main() -> int:
    """Print the verdict."""
    if "--reachable" in sys.argv:
        return 0 if is_reachable() else UNKNOWN
    try:
        report = json.load(sys.stdin)
    except ValueError:
        report = {}
    status, lines = judge(report, accepted(ACCEPTED.read_text(encoding="utf-8")))
    sys.stderr.writelines(f"segfw: {line}\n" for line in lines)
    return status


if __name__ == "__main__":
    sys.exit(main())
