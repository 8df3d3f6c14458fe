"""Writes docs/playbook.schema.json, by which editors complete and check playbooks: `python scripts/write_schema.py`.

Made from the definition that the parser reads by; a test fails when the file is behind it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "docs" / "playbook.schema.json"


def text() -> str:
    """The schema of a playbook that may use every verb, the stack's own too."""
    from cc.engine.schema import schema
    from cc.resources.verbs import specs
    from cc.services.orchestrator import stack_verbs

    return json.dumps(schema(specs(stack_verbs())), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PUBLISHED.write_text(text(), encoding="utf-8")
