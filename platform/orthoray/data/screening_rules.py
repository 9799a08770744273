"""Thresholds of screening. They are starting values: set them from a sample of one's own that people have judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orthoray.config import StrictModel

Severity = Literal["exclude", "review"]


class Rule(StrictModel):
    """A rule can be switched off, and can send images to review in place of excluding them."""

    on: bool = True
    severity: Severity = "exclude"


class BlurRule(Rule):
    """Sharpness far below the stratum's.

    Two of Laplacian, Tenengrad and high frequencies, or the detail of the edges overall, or that of one direction.
    """

    z: float = Field(default=3.5, gt=0, description="For two of the first three.")
    detail_z: float = Field(default=4.0, gt=0)
    direction_z: float = Field(default=3.5, gt=0)


class ExposureRule(Rule):
    """Clipping beyond a share and far above the stratum's; entropy far below it; noise far above it."""

    white: float = Field(default=0.05, ge=0, le=1, description="Share of the pixels inside the collimation at 255.")
    black: float = Field(default=0.1, ge=0, le=1, description="At 0; air beside the limb may be black.")
    z: float = Field(default=3.5, gt=0, description="For clipping.")
    entropy_z: float = Field(default=5.0, gt=0)
    noise_z: float = Field(default=5.0, gt=0)


class DeviationIndexRule(Rule):
    """Exposure away from its target as the detector reports it (IEC 62494-1)."""

    severity: Severity = "review"
    limit: float = Field(default=3.0, gt=0)


class ContrastRule(Rule):
    """Entropy or range of grey levels below a limit, or that range far below the stratum's."""

    entropy: float = Field(default=4.0, ge=0, le=8, description="Bits.")
    levels: float = Field(default=32.0, ge=0, le=255, description="Between the 1st and the 99th percentile.")
    z: float = Field(default=4.0, gt=0)


class CorruptRule(Rule):
    """Next to no different grey levels."""

    levels: int = Field(default=8, ge=1, le=255)


class StitchedRule(Rule):
    """Header, length, proportions, or a straight step across the whole width (films only)."""

    length_mm: float = Field(default=600.0, gt=0)
    aspect: float = Field(default=2.2, gt=1)
    seam: float = Field(default=1.2, gt=0, description="Strength of a step across the whole width.")
    seam_z: float = Field(default=5.0, gt=0)


class TextRule(Rule):
    """More words than this, by the pixels; or the header says so.

    An image on which OCR read a value of its own header leaves whatever the rule says.
    """

    words: int = Field(default=0, ge=0, description="By their strokes.")
    ocr_words: int = Field(default=0, ge=0, description="Read by OCR (`ocr: true`), allowed markers left out.")


class GraphicsRule(Rule):
    """More drawn lines or arrows than this, by the pixels of a film."""

    drawn: int = Field(default=0, ge=0)


class ImplantRule(Rule):
    """Saturated compact patches beyond a share of the image and far above the stratum's; or the header says so."""

    severity: Severity = "review"
    share: float = Field(default=0.01, gt=0, le=1)
    z: float = Field(default=3.5, gt=0)


class ArtefactRule(Rule):
    """MR: signal to noise far below the stratum's; noise, ghosts, spikes, filled air or shading far above it.

    Movement does a little of several; two that agree are enough at a lower limit.
    """

    snr_z: float = Field(default=4.0, gt=0)
    noise_z: float = Field(default=6.0, gt=0)
    ghost_z: float = Field(default=4.0, gt=0)
    ghost: float = Field(default=0.15, ge=0, le=1, description="Correlation that a ghost has at least.")
    streaks_z: float = Field(default=3.5, gt=0)
    air_z: float = Field(default=4.0, gt=0)
    movement_z: float = Field(default=2.5, gt=0, description="For two of signal to noise, streaks, air and focus.")
    spike_z: float = Field(default=4.0, gt=0)
    shading_z: float = Field(default=4.0, gt=0)


class EndSliceRule(Rule):
    """MR: slices at either end of a stack that show next to nothing."""

    foreground: float = Field(default=0.1, ge=0, le=1)


class BodyPartRule(Rule):
    """Another part of the body, by the header."""

    allowed: tuple[str, ...] = ("knee", "hip", "shoulder", "ankle")


class OutlierRule(Rule):
    """Far from audited good images, by ``outlier_score`` (`orthoray.data.outliers`)."""

    severity: Severity = "review"
    limit: float = Field(default=1.0, gt=0, description="1 = as far as the farthest percent of the good ones.")


class OverlayRule(Rule):
    """The header has overlay planes; they are not part of the pixels."""

    severity: Severity = "review"


class NearDuplicateRule(Rule):
    """Alike by hash and by pixels, in another series (`orthoray.data.duplicates`)."""

    distance: int = Field(default=4, ge=0, le=16, description="Bits of the perceptual hashes that may differ.")
    correlation: float = Field(default=0.95, ge=0, le=1, description="Of the thumbnails.")
    detail: float = Field(default=0.9, ge=0, le=1, description="Correlation of their detail.")
    candidates: int = Field(default=100_000, ge=0, description="Pairs whose pixels are compared at most.")


class ScreeningRules(StrictModel):
    """All rules. ``z`` limits are robust z values within a stratum."""

    blurred: BlurRule = BlurRule()
    exposure: ExposureRule = ExposureRule()
    deviation_index: DeviationIndexRule = DeviationIndexRule()
    low_contrast: ContrastRule = ContrastRule()
    corrupt_pixels: CorruptRule = CorruptRule()
    stitched: StitchedRule = StitchedRule()
    burned_in_text: TextRule = TextRule()
    graphics: GraphicsRule = GraphicsRule()
    overlay: OverlayRule = OverlayRule()
    screenshot: Rule = Rule()
    implant: ImplantRule = ImplantRule()
    mr_artefact: ArtefactRule = ArtefactRule()
    end_slice: EndSliceRule = EndSliceRule()
    non_knee: BodyPartRule = BodyPartRule()
    outlier: OutlierRule = OutlierRule()
    exact_duplicate: Rule = Rule()
    near_duplicate: NearDuplicateRule = NearDuplicateRule()
    enough: int = Field(default=30, ge=2, description="Images that a stratum needs; else a coarser one judges.")
    least: int = Field(default=10, ge=2, description="Images that the coarsest stratum needs; else there is no z.")
