"""What a report tells about the study that it belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Remark:
    """One sentence about a study or one of its layers.

    Attributes:
        sign: "ok" or "caution".
        text: the sentence.
        about: the layer or training; empty for the whole study.
    """

    sign: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class StudyFacts:
    """A study as its report tells it.

    Attributes:
        title: network and images.
        remarks: of all checks.
        settings: name -> value in words.
        trainings: rows of a table: name, steps, planned and taken time, learning rate, loss.
        thresholds: of the checks: name -> value and reason.
        command: that made the study.
    """

    title: str
    remarks: Sequence[Remark]
    settings: Mapping[str, str]
    trainings: Sequence[Mapping[str, str]]
    thresholds: Mapping[str, tuple[float | int, str]]
    command: str

    @property
    def cautions(self) -> list[Remark]:
        """What a reader must know."""
        return [remark for remark in self.remarks if remark.sign != "ok"]

    @property
    def good(self) -> list[Remark]:
        """What is as it should be."""
        return [remark for remark in self.remarks if remark.sign == "ok"]
