"""A synthetic cohort as genuine DICOM: knees, hips, shoulders and ankles whose truth is known."""

from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.make import make_cohort
from orthoray.data.phantom.truth import disc_side, read_slice_code
from orthoray.data.phantom.write import write_cohort

__all__ = ["PhantomConfig", "disc_side", "make_cohort", "read_slice_code", "write_cohort"]
