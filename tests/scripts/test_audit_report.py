"""What pip-audit reports becomes an exit status: what was not looked up is never taken for safe."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.audit_report import ACCEPTED, accepted, judge

SAFE = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}
HIT = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"]}
VULNERABLE = {"name": "pillow", "version": "1.0", "vulns": [HIT]}


@pytest.mark.parametrize(
    ("packages", "known", "status", "said"),
    [
        ([SAFE], {}, 0, "1 packages were looked up"),
        ([SAFE, VULNERABLE], {}, 1, "pillow 1.0: PYSEC-1: VULNERABLE; fixed in 2.1"),
        ([SAFE, VULNERABLE], {"CVE-2026-1": "not called"}, 0, "pillow 1.0: PYSEC-1: accepted: not called"),
        ([SAFE, SKIPPED], {}, 3, "NOT AUDITED: 1 of 2 packages: torch"),
        ([VULNERABLE, SKIPPED], {}, 1, "NOT AUDITED"),
        ([], {}, 3, "NOT AUDITED: 0 of 0 packages: no report"),
    ],
)
def test_the_status_and_what_is_said(packages, known, status, said):
    found, lines = judge({"dependencies": packages}, known)
    assert found == status
    assert said in "\n".join(lines)


def test_what_is_accepted_has_a_reason():
    assert accepted("# a comment\n\nCVE-1 only on Windows\n") == {"CVE-1": "only on Windows"}
    with pytest.raises(ValueError, match="CVE-2 is accepted without a reason"):
        accepted("CVE-2\n")
    assert all(accepted(ACCEPTED.read_text(encoding="utf-8")).values())


def test_a_report_that_is_none_is_no_audit():
    script = Path(__file__).parents[2] / "scripts/audit_report.py"
    done = subprocess.run([sys.executable, script], input="no JSON", capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "NOT AUDITED" in done.stderr
