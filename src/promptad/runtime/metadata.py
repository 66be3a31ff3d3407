"""What is known of a detector beside its numbers, as plain data."""

from dataclasses import dataclass

from promptad.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A detector's class and settings, how it is given images, and what its outputs mean in words."""

    class_name: str
    settings: Settings
    weights_sha256: str  # of the backbone
    image_size: int  # S, pixels a side that the backbone is given
    resize: int  # pixels a side that an image is resized to before its central S x S are kept
    threshold: float | None = None  # of raw scores
    false_alarm_range: tuple[float, float] | None = None  # of the actual rate, as far as the detector can tell
    phrases: tuple[str, ...] = ()  # the states, "with hole"
    groups: tuple[int, ...] = ()  # index of the group of one meaning that each belongs to
    support_images: tuple[str, ...] = ()  # their names, if they are known
    support_sha256: str = ""  # of their pixels

    @property
    def canvas_size(self) -> int:
        """Pixels a side of the square whose central part an anomaly map shows."""
        return round(self.settings.scoring.resolution * self.resize / self.image_size)
