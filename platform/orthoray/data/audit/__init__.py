"""`orthoray audit`: a sample of a dataset for people to look at, and what their answers say about the whole."""

from orthoray.data.audit.commands import import_decisions, keep_findings, write_sheet
from orthoray.data.audit.findings import findings_files
from orthoray.data.audit.sample import Parameters

__all__ = ["Parameters", "findings_files", "import_decisions", "keep_findings", "write_sheet"]
