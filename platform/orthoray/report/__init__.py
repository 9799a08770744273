"""Report: one self-contained page from the folder of a study."""

from orthoray.report.build import build_report

__all__ = ["build_report"]
